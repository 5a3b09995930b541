//! The command line: commands, flags, and what `--help` says.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// DittoFS: a storage server for NFS, with its bytes in S3 or in a folder.
#[derive(Debug, Parser)]
#[command(name = "dittofs", version, disable_version_flag = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The configuration file [default: $XDG_CONFIG_HOME/dittofs/config.yaml, else
    /// /etc/dittofs/config.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented configuration file
    Init(Init),
    /// Start the server; it goes on in the background
    Start(Start),
    /// Stop the server and wait for its end
    Stop(Stop),
    /// Show what the server does and where
    Status(Status),
    /// Delete what nobody refers to from the content stores; asks the server when one runs
    Gc(Gc),
    /// Check names, counts, block maps and objects against each other
    Fsck(Fsck),
    /// Put names and attributes into the content stores, for `dittofs rebuild`
    Checkpoint(CheckpointArgs),
    /// Make the metadata stores anew from the last checkpoint in the content stores
    Rebuild,
    /// Keys of encrypted content stores
    #[command(subcommand)]
    Key(KeyCommand),
    /// Read every stored block, check it, and heal it where a good copy is left
    Scrub(ScrubArgs),
    /// Bring a share's stored blocks into the running server's memory
    Warm(WarmArgs),
    /// Write, show, edit or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the server's log
    Logs(Logs),
    /// Print the version
    Version(Version),
    /// Print a completion script for a shell
    Completion(Completion),
    /// Serve a folder at once: writes its configuration when there is none, and stays
    Quickstart(Quickstart),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Wrap all data keys by the keys that the configuration names now; no block is rewritten
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a commented configuration file
    Init(Init),
    /// Print all values in force, secrets masked
    Show(Show),
    /// Open the file in $VISUAL or $EDITOR, and check it afterwards
    Edit,
    /// Check the file and the environment
    Validate,
    /// Print the JSON Schema of the file
    Schema(Schema),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Stay, and log where the configuration says
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Where the process's id is kept [default: $XDG_STATE_HOME/dittofs/dittofs.pid]
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Log to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Start although the log lost records of which nobody knows the files; a copy of what is
    /// damaged is kept beside the log
    #[arg(long)]
    pub(crate) accept_log_damage: bool,
    /// Set by a parent that waits for the word that all is ready.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    pub(crate) daemon: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The process id's file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Kill it at once; what was acknowledged as stable is safe all the same
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The process id's file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Ask this port of this machine instead of the server's own socket
    #[arg(long, value_name = "PORT")]
    pub(crate) api_port: Option<u16>,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only look, and say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// What is unreferenced, or counted by nobody, for less than this stays [default: the
    /// configuration's upload.gc_grace]
    #[arg(long, value_name = "DURATION")]
    pub(crate) grace: Option<String>,
    /// The process id's file of the server, when one runs
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    /// The process id's file of the server, when one runs
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ScrubArgs {
    /// Bytes a second, for example 32Mi; 0: as fast as they come [default: the configuration's
    /// upload.scrub_rate]
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate: Option<String>,
    /// The process id's file of the server, when one runs
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct WarmArgs {
    /// The share, for example /export
    pub(crate) share: String,
    /// The process id's file of the server
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Repair what can be, after saying what will be done; needs the server stopped
    #[arg(long)]
    pub(crate) repair: bool,
    /// Do not ask before repairing
    #[arg(short, long, requires = "repair")]
    pub(crate) yes: bool,
    /// The process id's file of the server, when one runs
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "yaml")]
    pub(crate) output: Notation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Notation {
    Yaml,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on printing what is added
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 100)]
    pub(crate) lines: usize,
    /// Only lines from this time on, for example 2026-02-09T10:00:00Z
    #[arg(long, value_name = "RFC3339")]
    pub(crate) since: Option<String>,
    /// The log's file
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Version {
    /// The number only
    #[arg(long)]
    pub(crate) short: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completion {
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Where everything is kept, the configuration too
    #[arg(long, default_value = "./dittofs-data")]
    pub(crate) dir: PathBuf,
    /// TCP port of NFS; 0: any free one [default: the configuration's, 12049]
    #[arg(long, value_name = "PORT")]
    pub(crate) nfs_port: Option<u16>,
    /// TCP port of metrics and health; 0: any free one [default: the configuration's, 9090]
    #[arg(long, value_name = "PORT")]
    pub(crate) metrics_port: Option<u16>,
    /// The address NFS listens on [default: the configuration's, 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
}
