//! nfsload: load on an NFS version 3 server over TCP, and honest figures about it.
//!
//! What it reads it checks, what it commits it reads back; any fault is shown and makes it fail.
#![allow(clippy::disallowed_methods, reason = "a generator outside the server owns its time")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod client;
mod engine;
mod nfs3;
mod pattern;
mod rpc;
mod stats;
mod workload;
mod xdr;

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use serde_json::json;

use crate::{
    client::{Client, Error},
    engine::Engine,
    stats::{Meter, Stats},
    workload::{KINDS, Kind, Setting},
};

/// Load on an NFSv3 server, and honest figures about it.
#[derive(Parser)]
#[command(after_help = "Files are left on the server, in a new directory for each run.")]
struct Arguments {
    /// The server, as host:port.
    #[arg(long, default_value = "127.0.0.1:2049")]
    server: String,
    /// The port of the MOUNT protocol, if it is another one.
    #[arg(long)]
    mountport: Option<u16>,
    /// The path to mount.
    #[arg(long, default_value = "/export")]
    export: String,
    /// One of those that `--list` prints.
    #[arg(long, required_unless_present = "list")]
    workload: Option<String>,
    /// Print the workloads and end.
    #[arg(long)]
    list: bool,
    /// How long to begin operations.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to run before that without measuring (not `readdir` and `remove`).
    #[arg(long, default_value_t = 3.0)]
    ramp: f64,
    /// TCP connections; by default the workload's own.
    #[arg(long)]
    connections: Option<usize>,
    /// Calls in flight on each connection; by default the workload's own.
    #[arg(long)]
    depth: Option<usize>,
    /// Size of each data file in MiB.
    #[arg(long, default_value_t = 256)]
    file_mib: u64,
    /// Files in the directory; by default the workload's own.
    #[arg(long)]
    files: Option<u32>,
    /// The server's process: its CPU time is shown for each operation.
    #[arg(long)]
    pid: Option<u32>,
    /// Where random choices and content begin; by default the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// Print one line of JSON and nothing else.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for Kind { name, what, connections, depth, .. } in KINDS {
            println!("{name:9} {connections} x {depth:2}  {what}");
        }
        return ExitCode::SUCCESS;
    }
    let name = arguments.workload.as_deref().unwrap_or_default();
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
        eprintln!("nfsload: no workload `{name}`, see --list");
        return ExitCode::FAILURE;
    };
    match run(&arguments, kind) {
        Ok((stats, meter)) => {
            report(&arguments, kind, &stats, &meter);
            if stats.faults.is_empty() && stats.ops > 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("nfsload: {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, kind: &Kind) -> Result<(Stats, Meter), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock = now.as_secs() << 32 | u64::from(now.subsec_nanos());
    let seed = arguments.seed.unwrap_or(clock);
    let (host, _) = arguments.server.rsplit_once(':').unwrap_or((&arguments.server, ""));
    let root = match arguments.mountport {
        Some(port) => Client::connect(&format!("{host}:{port}"))?.mount(&arguments.export)?,
        None => Client::connect(&arguments.server)?.mount(&arguments.export)?,
    };
    let mut client = Client::connect(&arguments.server)?;
    let dir = client.mkdir(&root, &format!("nfsload-{}-{seed:016x}", kind.name))?;
    let connections = arguments.connections.unwrap_or(kind.connections);
    let depth = arguments.depth.unwrap_or(kind.depth);
    let mut setting = Setting {
        client: &mut client,
        engine: &mut Engine::connect(&arguments.server, connections, depth)?,
        meter: Meter::new(arguments.pid),
        ramp: Duration::from_secs_f64(arguments.ramp),
        dir,
        connections,
        lanes: connections * depth,
        limit: Duration::from_secs_f64(arguments.seconds),
        file_bytes: arguments.file_mib * 1024 * 1024,
        files: arguments.files.unwrap_or(kind.files),
        seed,
    };
    let stats = kind.run(&mut setting)?;
    setting.meter.finish();
    Ok((stats, setting.meter))
}

fn report(arguments: &Arguments, kind: &Kind, stats: &Stats, meter: &Meter) {
    let seconds = stats.elapsed.as_secs_f64();
    let ops = stats.ops as f64;
    let per_second = ops / seconds;
    let mb_per_second = stats.bytes as f64 / seconds / 1e6;
    let [cpu_us, afterwards_us] = [meter.server(), meter.afterwards()]
        .map(|cpu| cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / ops));
    let own = meter.generator().map(|cpu| (cpu.as_secs_f64() / seconds * 100.0).round());
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| stats.latencies.quantile_us(part));
    let faults: u64 = stats.faults.values().sum();
    let connections = arguments.connections.unwrap_or(kind.connections);
    let depth = arguments.depth.unwrap_or(kind.depth);
    if arguments.json {
        let named = |(fault, count): (&nfs3::Fault, &u64)| (format!("{fault:?}"), json!(count));
        let named: serde_json::Map<String, serde_json::Value> =
            stats.faults.iter().map(named).collect();
        println!(
            "{}",
            json!({
                "workload": kind.name, "connections": connections, "depth": depth,
                "seconds": seconds, "ops": stats.ops, "ops_per_second": per_second,
                "mb_per_second": mb_per_second, "server_cpu_us_per_op": cpu_us,
                "server_cpu_us_per_op_afterwards": afterwards_us, "generator_cpu_percent": own,
                "p50_us": p50, "p99_us": p99, "p999_us": p999, "errors": faults, "faults": named,
            })
        );
        return;
    }
    println!("{} ({connections} x {depth}): {}", kind.name, kind.what);
    println!(
        "  {} operations in {seconds:.2} s: {per_second:.0}/s, {mb_per_second:.1} MB/s",
        stats.ops
    );
    println!("  latency p50 {p50:.0} us, p99 {p99:.0} us, p99.9 {p999:.0} us");
    if let Some(cpu_us) = cpu_us {
        println!("  server CPU {cpu_us:.2} us for each operation");
    }
    if let Some(afterwards_us) = afterwards_us {
        println!("  and {afterwards_us:.2} us afterwards, until it rested");
    }
    if let Some(own) = own {
        println!("  nfsload itself used {own} % of a core");
    }
    for (fault, count) in &stats.faults {
        println!("  ERROR {fault:?}: {count} times");
    }
}
