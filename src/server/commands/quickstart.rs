//! `dittofs quickstart`: a server on one folder, with one command, and the same one again.

use std::path::Path;

use super::{absolute, load, say, write_private};
use crate::{
    board::Board,
    cli::Quickstart,
    config::{Source, template::Template},
    lock,
    rooms::Rooms,
    serve,
};

/// Why nobody is squashed here.
const SQUASH_WHY: &str = "\
    # A client's root is root here, so that `sudo` works on a machine of yours. Clients name their
    # own user ids: before strangers can reach the port, set allow, or squash: root_to_guest.";

/// Serves the folder.
pub(crate) fn run(args: &Quickstart) -> Result<(), String> {
    let dir = absolute(&args.dir)?;
    let file = dir.join("config.yaml");
    if !file.exists() {
        let template = Template {
            title: "DittoFS, by `dittofs quickstart`. The folder may be moved as a whole.",
            cache: "cache",
            meta: "meta",
            blocks: "blocks",
            metrics: true,
            squash: ("none", SQUASH_WHY),
            root_mode: "0755",
            jwt_secret: None,
        };
        write_private(&file, &template.text())?;
    }
    let mut source =
        Source { file: Some(file), env: std::env::vars().collect(), ..Source::default() };
    let flags = [
        ("adapters.nfs.port", args.nfs_port.map(|port| port.to_string())),
        ("adapters.nfs.bind", args.bind.map(|address| address.to_string())),
        ("metrics.port", args.metrics_port.map(|port| port.to_string())),
    ];
    source.flags.extend(flags.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let config = load(&source)?;
    let pid_file = dir.join("dittofs.pid");
    serve::run(&config, &pid_file, |board, rooms| {
        // The log is written by another thread; what it says so far shall stand above.
        lock::pause();
        say(&greeting(&dir, board, rooms))
    })
}

/// How to mount each share, where the data is, and whom to ask.
fn greeting(dir: &Path, board: &Board, rooms: &Rooms) -> String {
    let (address, port) = (rooms.nfs_address.ip(), rooms.nfs_address.port());
    let host = match address.is_unspecified() {
        true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        false => address.to_string(),
    };
    let mut text =
        format!("\nDittoFS serves NFS on {}. On a client, as root:\n\n", rooms.nfs_address);
    for share in rooms.vfs.shares() {
        let name = &share.name;
        text.push_str(&format!(
            "  mount -t nfs -o nfsvers=3,tcp,port={port},mountport={port},mountproto=tcp,nolock \
             {host}:{name} /mnt\n"
        ));
    }
    text.push_str(&format!("\nData and configuration: {}\n", dir.display()));
    if let Some(metrics) = board.metrics_address {
        text.push_str(&format!(
            "Metrics: http://{metrics}/metrics  Health: http://{metrics}/health\n"
        ));
    }
    let pid_file = dir.join("dittofs.pid");
    text.push_str(&format!(
        "Status: dittofs status --pid-file {0}  End: Ctrl-C, or dittofs stop --pid-file {0}\n\n",
        pid_file.display()
    ));
    text
}
