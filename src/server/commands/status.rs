//! `dittofs status`: what the server does and where.

use std::{
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use comfy_table::{Table, presets};
use serde_json::Value as Json;

use super::{config, online, say};
use crate::{
    cli::{Output, Status},
    lock::Lock,
    paths,
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the running server. Fails when none runs, so that scripts can tell.
pub(crate) fn run(args: &Status) -> Result<(), String> {
    let status = match args.api_port {
        Some(port) => {
            let fail = |error: std::io::Error| format!("127.0.0.1:{port}: {error}");
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(fail)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
            online::get(stream, "/status").map_err(|why| format!("127.0.0.1:{port}: {why}"))?
        }
        None => by_socket(args)?,
    };
    say(&match args.output {
        Output::Json => config::json(&status),
        Output::Yaml => config::yaml(&status)?,
        Output::Table => table(&status),
    })
}

fn by_socket(args: &Status) -> Result<Json, String> {
    let pid_file = paths::pid(args.pid_file.as_deref())?;
    let Some(pid) = Lock::holder(&pid_file)? else {
        return Err(format!("no server runs with {}", pid_file.display()));
    };
    let stream = online::connect(&pid_file, pid)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    online::get(stream, "/status").map_err(|why| format!("process {pid} runs, but {why}"))
}

fn table(status: &Json) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let text = |value: &Json| match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_null() => "-".to_owned(),
        None => value.to_string(),
    };
    let mut row = |name: &str, value: String| {
        table.add_row([name, value.as_str()]);
    };
    row("state", text(&status["state"]));
    if !status["step"].is_null() {
        row("step", text(&status["step"]));
    }
    for name in ["version", "pid", "started"] {
        row(name, text(&status[name]));
    }
    row("nfs", text(&status["nfs"]["address"]));
    row("connections", text(&status["nfs"]["connections"]));
    row("metrics", text(&status["metrics"]));
    let core = |core: &Json| match core.as_u64() {
        None => "any core".to_owned(),
        Some(core) => format!("core {core}"),
    };
    let layout = &status["layout"];
    for reactor in layout["reactors"].as_array().into_iter().flatten() {
        row(&format!("reactor {}", reactor["reactor"]), core(&reactor["core"]));
    }
    row("uploader", core(&layout["upload_core"]));
    row("control", core(&layout["control_core"]));
    for share in status["shares"].as_array().into_iter().flatten() {
        let access = if share["read_only"] == true { ", read-only" } else { "" };
        let durability = text(&share["durability"]);
        let stores = (text(&share["metadata_store"]), text(&share["content_store"]));
        row(
            &format!("share {}", text(&share["name"])),
            format!("names in {}, bytes in {}, {durability}{access}", stores.0, stores.1),
        );
        let age = |key: &str| format!("{:.1} s", share[key].as_f64().unwrap_or_default());
        let risks = [
            ("at risk", "bytes_at_risk", "oldest_unsynced_age_seconds"),
            ("not uploaded", "bytes_not_uploaded", "oldest_not_uploaded_age_seconds"),
        ];
        for (name, bytes, since) in risks.iter().filter(|(_, bytes, _)| share[*bytes] != 0) {
            row(
                &format!("  {name}"),
                format!("{} bytes, the oldest for {}", text(&share[*bytes]), age(since)),
            );
        }
    }
    if status["log_read_only"] == true {
        row("log", "read-only since its disk failed; restart the server".to_owned());
    }
    for store in status["content_stores_away"].as_array().into_iter().flatten() {
        row(&format!("content store {}", text(store)), "away; what is dirty waits".to_owned());
    }
    let bytes = &status["bytes"];
    for (name, key) in [("dirty bytes", "dirty"), ("log bytes", "log"), ("cache bytes", "cache")] {
        row(name, text(&bytes[key]));
    }
    let lines: Vec<String> = table.lines().map(|line| format!("{}\n", line.trim())).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_names_threads_shares_and_bytes() {
        let status = json!({
            "state": "ready", "version": "1", "pid": 7, "started": "then", "metrics": null,
            "nfs": {"address": "0.0.0.0:12049", "connections": 2},
            "layout": {
                "reactors": [{"reactor": 0, "core": 0}], "upload_core": 1, "control_core": null,
            },
            "shares": [{
                "name": "/export", "read_only": true, "metadata_store": "m", "content_store": "c",
                "durability": "local",
                "bytes_at_risk": 5, "oldest_unsynced_age_seconds": 1.25, "bytes_not_uploaded": 0,
            }],
            "log_read_only": true, "content_stores_away": ["c"],
            "bytes": {"dirty": 1, "log": 2, "cache": 3},
        });
        let table = table(&status);
        let words: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let wants = [
            "state ready",
            "nfs 0.0.0.0:12049",
            "metrics -",
            "reactor 0 core 0",
            "uploader core 1",
            "control any core",
            "share /export names in m, bytes in c, local, read-only",
            "at risk 5 bytes, the oldest for 1.2 s",
            "log read-only since its disk failed; restart the server",
            "content store c away; what is dirty waits",
            "dirty bytes 1",
            "log bytes 2",
        ];
        for want in wants {
            assert!(words.iter().any(|line| line.join(" ") == want), "no `{want}` in\n{table}");
        }
    }
}
