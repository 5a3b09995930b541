//! Tables of good and bad configurations, with every word of the errors.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use blocks::Codec;

use super::{
    Config, ContentKind, MetadataStore, Source,
    template::Template,
    values::{Scalar, Size},
};

/// The least that a server needs.
const LEAST: &str = "\
cache: {path: cache}
metadata: {stores: {m: {type: memory}}}
content: {stores: {c: {type: memory}}}
shares: [{name: /export, metadata_store: m, content_store: c}]
";

fn source(env: &[(&str, &str)]) -> Source {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Source { file: Some(PathBuf::from("/etc/d/c.yaml")), env, flags: BTreeMap::new() }
}

#[track_caller]
fn good(text: &str, env: &[(&str, &str)]) -> Config {
    match Config::read(&source(env), text) {
        Ok(config) => config,
        Err(unsound) => panic!("{unsound}"),
    }
}

#[track_caller]
fn bad(text: &str, env: &[(&str, &str)], want: &str) {
    let problems = Config::read(&source(env), text).err().map(|unsound| unsound.to_string());
    assert_eq!(problems.as_deref(), Some(want));
}

/// One wrong line below a good configuration, which is lines 1 to 4.
#[track_caller]
fn bad_line(line: &str, want: &str) {
    bad(&format!("{LEAST}{line}\n"), &[], want);
}

#[test]
fn defaults() {
    let config = good(LEAST, &[]);
    assert_eq!(config.cache.path, PathBuf::from("/etc/d/cache"));
    assert_eq!((config.cache.size, config.cache.log_size), (Size(1 << 30), Size(2 << 30)));
    assert_eq!((config.nfs.port, config.nfs.bind.to_string()), (12_049, "0.0.0.0".to_owned()));
    assert!(config.nfs.enabled);
    assert!(!config.metrics.enabled);
    assert_eq!(
        (config.metrics.port, config.metrics.bind.to_string()),
        (9090, "127.0.0.1".to_owned())
    );
    assert_eq!(config.shutdown_timeout, Duration::from_secs(30));
    let share = &config.shares[0].vfs;
    assert_eq!(share.squash, vfs::Squash::RootToGuest);
    assert_eq!((share.anonymous_uid, share.anonymous_gid), (65_534, 65_534));
    assert_eq!(config.remarks, Vec::<String>::new());
    // What means nothing here is not shown.
    let keys: Vec<String> = config.shown().as_object().expect("keys").keys().cloned().collect();
    let want = [
        "adapters",
        "cache",
        "content",
        "logging",
        "lookups",
        "metadata",
        "metrics",
        "shares",
        "shutdown_timeout",
        "upload",
    ];
    assert_eq!(keys, want);
    assert_eq!(config.shown()["metadata"].to_string(), r#"{"stores":{"m":{"type":"memory"}}}"#);
}

#[test]
fn nested_and_flat_keys_of_a_store_say_the_same() {
    let nested = "{type: s3, s3: {bucket: b, access_key: a, secret_key: s, prefix: p/}}";
    let flat = "{type: s3, bucket: b, access_key: a, secret_key: s, prefix: p/}";
    for store in [nested, flat] {
        let text = LEAST.replace("{c: {type: memory}}", &format!("{{c: {store}}}"));
        let config = good(&text, &[]);
        let ContentKind::S3(s3) = &config.content["c"].kind else { panic!("{:?}", config.content) };
        assert_eq!((&*s3.bucket, &*s3.prefix), ("b", "p/"));
        assert_eq!(s3.credentials.as_ref().map(|keys| &*keys.secret_key), Some("s"));
        assert!(!s3.is_path_style, "Amazon's");
        assert_eq!(config.content["c"].codec, Codec::None);
    }
    for store in ["{type: badger, badger: {db_path: m}}", "{type: badger, db_path: /etc/d/m}"] {
        let text = LEAST.replace("{m: {type: memory}}", &format!("{{m: {store}}}"));
        let want = MetadataStore::Lsm { path: PathBuf::from("/etc/d/m") };
        assert_eq!(good(&text, &[]).metadata["m"], want);
    }
}

#[test]
fn everything_at_once() {
    let text = "\
logging: {level: debug, format: json, output: /var/log/d.log}
telemetry: {enabled: true, endpoint: 'x:1', insecure: true, sample_rate: 0.5}
shutdown_timeout: 1m30s
database: {type: sqlite, sqlite: {path: a.db}}
metrics: {enabled: true, port: 0, bind: '::1'}
controlplane: {port: 8080, jwt: {secret: 01234567890123456789012345678901}}
cache: {path: /c, size: 512Mi, log_size: 2GB}
metadata: {global: {dump_restricted: false}, stores: {m: {type: badger, db_path: /m}}}
content: {stores: {c: {type: filesystem, filesystem: {path: /b}, compression: zstd}}}
shares:
  - {name: /a, metadata_store: m, content_store: c, read_only: yes, squash: none,
     anonymous_uid: 99, anonymous_gid: 98,
     allow: [10.0.0.0/8, '::1', Alpha.lab, '*.lab', '@lab', '*'],
     deny: 10.1.2.3, groups: server,
     durability: writeback, root_mode: 0750, root_uid: 1, root_gid: 2,
     privileged_port: true, subdirectories: false, security: [none:write, sys], capacity: 1Ti}
  - {name: /b, metadata_store: m, content_store: c}
adapters: {nfs: {port: 2049, bind: 127.0.0.1}, smb: {port: 445}}
reactors: {count: 2, cores: [0, 1]}
lookups: {netgroup_file: groups, ttl: 5m}
upload: {core: 1, settle: 250ms, gc_grace: 1h, gc_interval: 1m,
  sweep_interval: 12h, scrub_interval: 0s,
  scrub_rate: 1Mi, checkpoint_interval: 15m}
";
    let config = good(text, &[]);
    assert_eq!(config.shutdown_timeout, Duration::from_secs(90));
    assert_eq!(config.cache.log_size, Size(2_000_000_000));
    assert_eq!(config.upload.settle, Duration::from_millis(250));
    assert_eq!(config.reactors.cores, [0, 1]);
    let share = &config.shares[0].vfs;
    assert_eq!((share.root_mode, share.root_uid, share.root_gid), (0o750, 1, 2));
    assert_eq!(share.groups, vfs::Groups::Server);
    assert_eq!(config.lookups.netgroup_file, PathBuf::from("/etc/d/groups"));
    assert_eq!(config.lookups.ttl, Duration::from_secs(300));
    assert!(share.privileged_port && !share.subdirectories);
    assert_eq!(share.security, [vfs::Flavor::None { writes: true }, vfs::Flavor::Sys]);
    assert_eq!((share.capacity, config.shares[1].vfs.capacity), (Some(1 << 40), None));
    assert_eq!(config.shares[1].vfs.security, [vfs::Flavor::Sys]);
    let nets: Vec<_> = share.allow.iter().chain(&share.deny).map(Scalar::show).collect();
    assert_eq!(nets, ["10.0.0.0/8", "::1/128", "alpha.lab", "*.lab", "@lab", "*", "10.1.2.3/32"]);
    assert_eq!(
        config.remarks,
        [
            "share /a: durability writeback: a power cut loses the last seconds of what was \
             acknowledged",
            "accepted, but not offered yet: adapters.smb",
            "accepted, but not offered yet: telemetry, database, controlplane",
        ]
    );
    // A secret of digits is a text, and nobody sees it.
    assert!(!config.shown().to_string().contains("0123456789"), "{}", config.shown());
    assert_eq!(config.shown()["controlplane"]["jwt"]["secret"], "***");
}

#[test]
fn unknown_keys_name_the_nearest() {
    bad_line(
        "metrics: {prot: 1}",
        "/etc/d/c.yaml:5: metrics.prot: unknown key; did you mean `port`? known here: enabled, \
         port, bind",
    );
    bad(
        &LEAST.replace("shares: [{", "shares: [{rw: true, "),
        &[],
        "/etc/d/c.yaml:4: shares.0.rw: unknown key; known here: name, metadata_store, \
         content_store, read_only, squash, anonymous_uid, anonymous_gid, allow, deny, \
         groups, privileged_port, subdirectories, security, capacity, root_mode, root_uid, \
         root_gid, cache, durability",
    );
    bad(
        &LEAST.replace("{m: {type: memory}}", "{m: {type: memory, db_pth: x}}"),
        &[],
        "/etc/d/c.yaml:2: metadata.stores.m.db_pth: unknown key; did you mean `db_path`? known \
         here: type, badger, postgres, db_path",
    );
}

#[test]
fn wrong_values() {
    let table = [
        (
            "metrics: {port: 70000}",
            "5: metrics.port: expected a whole number from 0 to 65535, not \
          `70000`",
        ),
        ("metrics: {enabled: maybe}", "5: metrics.enabled: expected true or false, not `maybe`"),
        (
            "metrics: {bind: here}",
            "5: metrics.bind: expected an IP address such as 0.0.0.0 (all), \
          127.0.0.1 (this machine) or ::, not `here`",
        ),
        (
            "logging: {level: LOUD}",
            "5: logging.level: expected one of TRACE, DEBUG, INFO, WARN, \
          ERROR, not `LOUD`",
        ),
        (
            "shutdown_timeout: 30",
            "5: shutdown_timeout: expected a duration such as 30s, 15m, 168h \
          or 1h30m, not `30`",
        ),
        (
            "shutdown_timeout: 5 parsecs",
            "5: shutdown_timeout: expected a duration such as 30s, \
          15m, 168h or 1h30m, not `5 parsecs`",
        ),
        ("shutdown_timeout: [30s]", "5: shutdown_timeout: expected a single value"),
        (
            "lookups: {ttl: 0s}",
            "5: lookups.ttl: expected at least 1s, for others are asked that often",
        ),
        ("logging: loud", "5: logging: expected keys and values below it"),
        ("telemetry: {sample_rate: 2}", "5: telemetry.sample_rate: expected a number from 0 to 1"),
        (
            "controlplane: {jwt: {secret: short}}",
            "5: controlplane.jwt.secret: expected at least \
          32 characters",
        ),
        ("reactors: {count: 0}", "5: reactors.count: expected at least 1"),
        ("reactors: {cores: [1, 1]}", "5: reactors.cores: core 1 stands there twice"),
        (
            "reactors: {count: 3, cores: [1]}",
            "5: reactors.cores: 1 cores for 3 reactors; leave \
          count out",
        ),
        (
            "reactors: {count: 64}",
            "1: cache.log_size: too small for 64 reactors; expected at \
          least 8192Mi",
        ),
        (
            "upload: {core: all}",
            "5: upload.core: expected a whole number from 0 to \
          18446744073709551615, not `all`",
        ),
        (
            "adapters: {nfs: {enabled: false}}",
            "5: adapters.nfs.enabled: no adapter is left, so \
          nothing would be served; set it to true",
        ),
        (
            "metrics: {enabled: true, port: 12049}",
            "5: metrics.port: port 12049 is \
          adapters.nfs.port too; choose another",
        ),
        (
            "logging: {output: '${NOPE}'}",
            "5: the environment variable NOPE is not set; set it, or \
          write ${NOPE:-default}",
        ),
        (
            "logging: {output: '${NOPE'}",
            "5: `${NOPE` has no closing brace; write $${ for a \
          literal ${",
        ),
    ];
    for (line, want) in table {
        bad_line(line, &format!("/etc/d/c.yaml:{want}"));
    }
}

#[test]
fn wrong_shares() {
    let table = [
        (
            "security: [sys, krb5p]",
            "shares.0.security: Kerberos is not offered; expected sys, none or none:write, not \
             `krb5p`",
        ),
        ("security: root", "shares.0.security: expected sys, none or none:write, not `root`"),
        ("security: [none, none:write]", "shares.0.security: both none and none:write; choose"),
        (
            "capacity: lots",
            "shares.0.capacity: expected a size such as 512Mi, 1Gi, 1GB or a number of bytes, \
             not `lots`",
        ),
        ("groups: both", "shares.0.groups: expected one of client, server, not `both`"),
        (
            "deny: [10.0.0.300]",
            "shares.0.deny: expected an address, a network such as 192.168.1.0/24, a host name, a \
             pattern such as *.lab, or @netgroup, not `10.0.0.300`",
        ),
        ("privileged_port: 1023", "shares.0.privileged_port: expected true or false, not `1023`"),
    ];
    for (key, want) in table {
        let share = format!("{{name: /export, metadata_store: m, content_store: c, {key}}}");
        let text = LEAST.replace("{name: /export, metadata_store: m, content_store: c}", &share);
        assert_ne!(text, LEAST);
        bad(&text, &[], &format!("/etc/d/c.yaml:4: {want}"));
    }
}

#[test]
fn wrong_stores() {
    let table = [
        (
            "{m: {type: memory}}",
            "{m: {type: postgres}}",
            "2: metadata.stores.m.type: \
          postgres is not offered yet; use badger",
        ),
        (
            "{m: {type: memory}}",
            "{m: {}}",
            "2: metadata.stores.m.type: missing; choose \
          memory, badger or postgres",
        ),
        (
            "{m: {type: memory}}",
            "{m: {type: badger}}",
            "0: metadata.stores.m.badger.\
          db_path: missing; name its folder",
        ),
        (
            "{c: {type: memory}}",
            "{c: {type: pool}}",
            "3: content.stores.c.type: pool is not \
          offered yet; use filesystem or s3",
        ),
        (
            "{c: {type: memory}}",
            "{c: {type: tape}}",
            "3: content.stores.c.type: expected one of \
          memory, filesystem, s3, pool, not `tape`",
        ),
        (
            "{c: {type: memory}}",
            "{c: {type: filesystem, path: cache/x}}",
            "3: content.stores.c.\
          filesystem.path: /etc/d/cache/x and /etc/d/cache of cache.path lie in each other; give \
          each a folder of its own",
        ),
        (
            "{c: {type: memory}}",
            "{c: {type: filesystem, path: x, filesystem: {path: x}}}",
            "3: \
          content.stores.c.path: stands below filesystem too; keep one of them",
        ),
        (
            "{c: {type: memory}}",
            "{c: {type: s3, bucket: b, access_key: a, secret_key: s, \
          endpoint: minio}}",
            "3: content.stores.c.s3.endpoint: expected a URL such as \
          http://10.0.0.5:9000",
        ),
        (
            "metadata_store: m",
            "metadata_store: mm",
            "4: shares.0.metadata_store: no metadata \
          store `mm`; did you mean `m`?",
        ),
        (
            "content_store: c",
            "content_store: bucket",
            "4: shares.0.content_store: no content \
          store `bucket`; define it below content.stores",
        ),
        ("/export", "export", "4: shares.0.name: expected a path such as /export, not `export`"),
        (
            "content_store: c}",
            "content_store: c, durability: quorum}",
            "4: shares.0.durability: \
          quorum needs replicas, which are not offered yet; use local",
        ),
        (
            "content_store: c}",
            "content_store: c, durability: remote}",
            "4: shares.0.durability: \
          remote needs a content store that outlives the server, and this one is in memory; \
          use local, or a content store of type s3 or filesystem",
        ),
        (
            "content_store: c}",
            "content_store: c, squash: some}",
            "4: shares.0.squash: expected \
          one of none, root_to_admin, root_to_guest, all_to_admin, all_to_guest, not `some`",
        ),
        (
            "content_store: c}",
            "content_store: c, root_mode: 0999}",
            "4: shares.0.root_mode: \
          expected octal permission bits such as 0755, not `0999`",
        ),
        (
            "content_store: c}",
            "content_store: c, allow: [10.0.0.0/33]}",
            "4: shares.0.allow: \
          expected an address, a network such as 192.168.1.0/24, a host name, a \
          pattern such as *.lab, or @netgroup, not `10.0.0.0/33`",
        ),
        (
            "c}]",
            "c}, {name: /export, metadata_store: m, content_store: c}]",
            "4: shares.1.name: \
          `/export` is shares.0 too; rename one of them",
        ),
        (
            "shares: [",
            "shares: []\nx: [",
            "4: shares: none, so nothing would be served; add one, \
          for example {name: /export, metadata_store: NAME, content_store: NAME}\n/etc/d/c.yaml:5: \
          x: unknown key; known here: logging, shutdown_timeout, metrics, cache, metadata, \
          content, keys, shares, adapters, reactors, upload, lookups, telemetry, database, \
          controlplane, admin",
        ),
        (
            "cache: {path: cache}",
            "",
            "0: cache.path: missing; name a folder on a local disk for \
          the log, for example /var/lib/dittofs/cache",
        ),
    ];
    for (from, to, want) in table {
        let text = LEAST.replace(from, to);
        assert_ne!(text, LEAST);
        let want =
            want.strip_prefix("0: ").map_or_else(|| format!(":{want}"), |w| format!(": {w}"));
        bad(&text, &[], &format!("/etc/d/c.yaml{want}"));
    }
}

#[test]
fn missing_credentials_are_named_and_given_ones_are_not_shown() {
    let text = LEAST.replace("{c: {type: memory}}", "{c: {type: s3, bucket: b}}");
    bad(
        &text,
        &[],
        "/etc/d/c.yaml: content.stores.c.s3.access_key: missing; give it here or set \
         AWS_ACCESS_KEY_ID\n/etc/d/c.yaml: content.stores.c.s3.secret_key: missing; give it here \
         or set AWS_SECRET_ACCESS_KEY",
    );
    let aws = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
    good(&text, &aws);
    bad(
        &LEAST.replace("{c: {type: memory}}", "{c: {type: s3, bucket: b, access_key: a}}"),
        &aws,
        "/etc/d/c.yaml: content.stores.c.s3.secret_key: missing, although access_key is given",
    );
    let text = "{c: {type: s3, bucket: b, access_key: a, secret_key: '${KEY}'}}";
    let config = good(&LEAST.replace("{c: {type: memory}}", text), &[("KEY", "hush # : '\"")]);
    let ContentKind::S3(s3) = &config.content["c"].kind else { panic!("{:?}", config.content) };
    let secret = s3.credentials.as_ref().map(|keys| &*keys.secret_key);
    assert_eq!(secret, Some("hush # : '\""));
    assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    assert_eq!(config.shown()["content"]["stores"]["c"]["s3"]["secret_key"], "***");
}

#[test]
fn not_yaml() {
    bad("a: [1", &[], "/etc/d/c.yaml:1: not valid YAML: unclosed bracket '['");
}

#[test]
fn the_same_key_twice() {
    bad(
        "cache: {path: a}\ncache: {path: b}\n",
        &[],
        "/etc/d/c.yaml:2: not valid YAML: duplicate mapping key: cache not allowed here",
    );
}

#[test]
fn the_environment_wins_and_needs_no_file() {
    let config = good(
        LEAST,
        &[
            ("DITTOFS_LOGGING_LEVEL", "ERROR"),
            ("DITTOFS_ADAPTERS_NFS_PORT", "2049"),
            ("DITTOFS_SHARES_0_READ_ONLY", "true"),
            ("DITTOFS_SHARES_0_ALLOW", "10.0.0.1, 10.0.0.2"),
            ("DITTOFS_CONTENT_STORES_C_COMPRESSION", "lz4"),
            ("DITTOFS_CONTROLPLANE_SECRET", "01234567890123456789012345678901"),
            ("DITTOFS_ADMIN_INITIAL_PASSWORD", "x"),
        ],
    );
    assert_eq!(config.logging.level, trace::log::Level::Error);
    assert_eq!(config.nfs.port, 2049);
    assert!(config.shares[0].vfs.read_only);
    assert_eq!(config.shares[0].vfs.allow.len(), 2);
    assert_eq!(config.content["c"].codec, Codec::Lz4);
    assert_eq!(config.shown()["controlplane"]["jwt"]["secret"], "***");

    let alone = [
        ("DITTOFS_CACHE_PATH", "/c"),
        ("DITTOFS_METADATA_STORES_MAIN_DB_TYPE", "badger"),
        ("DITTOFS_METADATA_STORES_MAIN_DB_BADGER_DB_PATH", "/m"),
        ("DITTOFS_CONTENT_STORES_DISK_TYPE", "filesystem"),
        ("DITTOFS_CONTENT_STORES_DISK_FILESYSTEM_PATH", "/b"),
        ("DITTOFS_SHARES_0_NAME", "/export"),
        ("DITTOFS_SHARES_0_METADATA_STORE", "main_db"),
        ("DITTOFS_SHARES_0_CONTENT_STORE", "disk"),
    ];
    let config = good("", &alone);
    assert_eq!(config.metadata["main_db"], MetadataStore::Lsm { path: PathBuf::from("/m") });
    assert_eq!(config.shares[0].content_store, "disk");
    assert_eq!(config.remarks, Vec::<String>::new());
}

#[test]
fn wrong_variables() {
    bad(
        LEAST,
        &[("DITTOFS_METRICS_PORT", "tcp://10.0.0.1:9090")],
        "/etc/d/c.yaml: DITTOFS_METRICS_PORT: expected a whole number from 0 to 65535, not \
         `tcp://10.0.0.1:9090`",
    );
    let config = good(LEAST, &[("DITTOFS_LOGGING_LEVLE", "x"), ("DITTOFS_PORT_1_TCP", "y")]);
    assert_eq!(
        config.remarks,
        [
            "DITTOFS_LOGGING_LEVLE is no key of the configuration; the nearest is \
             DITTOFS_LOGGING_LEVEL",
            "DITTOFS_PORT_1_TCP is no key of the configuration",
        ]
    );
}

#[test]
fn flags_win_over_all() {
    let mut source = source(&[("DITTOFS_ADAPTERS_NFS_PORT", "2049")]);
    source.flags.insert("adapters.nfs.port", "0".to_owned());
    let config = Config::read(&source, LEAST).expect("sound");
    assert_eq!(config.nfs.port, 0);
}

#[test]
fn text_of_the_environment_is_filled_in() {
    let text = format!("{LEAST}logging: {{output: '/${{A}}/${{B:-b}}/$${{C}}'}}\n");
    let config = good(&text, &[("A", "a")]);
    let want = trace::log::Output::File(PathBuf::from("/a/b/${C}"));
    assert_eq!(config.logging.output, want);
    // A number may come from the environment, too.
    let text = format!("{LEAST}metrics: {{port: '${{P}}'}}\n");
    assert_eq!(good(&text, &[("P", "1234")]).metrics.port, 1234);
}

#[test]
fn sizes_and_durations_read_what_they_show() {
    let sizes = [
        ("0", 0),
        ("1073741824", 1 << 30),
        ("1Gi", 1 << 30),
        ("1GiB", 1 << 30),
        ("512Mi", 512 << 20),
        ("1GB", 1_000_000_000),
        ("2 MB", 2_000_000),
        ("7k", 7000),
        ("3Ki", 3072),
        ("100B", 100),
    ];
    for (text, want) in sizes {
        let size = Size::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(size, Size(want), "{text}");
        let shown = size.show();
        let again = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
        assert_eq!(Size::parse(&again), Ok(size), "{text}");
    }
    for text in ["", "Gi", "1X", "-1", "1.5Gi", "99999999999999999999", "99999999Ti"] {
        assert!(Size::parse(text).is_err(), "{text}");
    }
    let durations = [
        ("30s", 30_000),
        ("15m", 900_000),
        ("168h", 604_800_000),
        ("1h30m", 5_400_000),
        ("250ms", 250),
        ("0s", 0),
        ("2d", 172_800_000),
    ];
    for (text, want) in durations {
        let duration = Duration::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(duration, Duration::from_millis(want), "{text}");
        let shown = duration.show();
        assert_eq!(Duration::parse(shown.as_str().expect("a text")), Ok(duration), "{text}");
    }
    for text in ["", "30", "s", "1h30", "1 h", "-1s", "1.5h", "1y"] {
        assert!(Duration::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_template_is_valid_and_says_the_defaults() {
    let template = Template {
        title: "Test",
        cache: "/d/cache",
        meta: "/d/meta",
        blocks: "/d/blocks",
        metrics: false,
        squash: ("root_to_guest", "    # Why."),
        root_mode: "1777",
        jwt_secret: Some("01234567890123456789012345678901"),
    };
    let config = good(&template.text(), &[]);
    let least = good(LEAST, &[]);
    for key in ["logging", "shutdown_timeout", "metrics", "upload", "adapters"] {
        assert_eq!(config.shown()[key], least.shown()[key], "{key}");
    }
    assert_eq!(config.cache.size, least.cache.size);
    assert_eq!(config.cache.log_size, least.cache.log_size);
    assert_eq!(config.shares[0].vfs.squash, least.shares[0].vfs.squash);
}

#[test]
fn the_schema_knows_every_key_and_its_default() {
    let schema = Config::schema();
    assert_eq!(schema["additionalProperties"], false);
    let keys = &schema["properties"];
    assert_eq!(keys["adapters"]["properties"]["nfs"]["properties"]["port"]["default"], 12_049);
    assert_eq!(keys["cache"]["properties"]["size"]["default"], "1Gi");
    let share = &keys["shares"]["items"]["properties"];
    assert_eq!(share["squash"]["default"], "root_to_guest");
    let store = &keys["content"]["properties"]["stores"]["additionalProperties"]["properties"];
    assert_eq!(store["type"]["enum"][2], "s3");
    assert!(store["s3"]["properties"]["secret_key"].is_object());
}
