//! Commands that need no server.

use std::os::unix::fs::PermissionsExt;

use super::{Home, ended, write};

#[test]
fn init_writes_a_private_file_once_and_it_is_valid() {
    let home = Home::new();
    let said = home.good(&["init"]);
    assert_eq!(
        said,
        format!("Wrote {}. Look at it, then: dittofs start\n", home.config().display())
    );
    let mode = std::fs::metadata(home.config()).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = std::fs::read_to_string(home.config()).expect("readable");
    assert!(first.contains(&home.path("data/dittofs/meta").display().to_string()), "{first}");

    let path = home.config();
    let there = format!("error: {} is there already; --force replaces it\n", path.display());
    assert_eq!(home.bad(&["init"]), there);
    assert_eq!(home.bad(&["config", "init"]), there);
    home.good(&["init", "--force"]);
    let second = std::fs::read_to_string(home.config()).expect("readable");
    assert_ne!(first, second, "each file has a secret of its own");

    let valid = home.good(&["config", "validate"]);
    assert_eq!(
        valid,
        format!(
            "remark: accepted, but not offered yet: controlplane\n{} is valid\n",
            home.config().display()
        )
    );
}

#[test]
fn init_copes_with_strange_folders() {
    let home = Home::new();
    let strange = home.path("a: #\"b\" ${HOME}");
    let mut command = home.command(&["init"]);
    let done = ended(command.env("XDG_DATA_HOME", &strange).output().expect("it runs"));
    assert_eq!(done.code, Some(0), "{}", done.err);
    let json: serde_json::Value =
        serde_json::from_str(&home.good(&["config", "show", "-o", "json"])).expect("JSON");
    assert_eq!(json["cache"]["path"], strange.join("dittofs/cache").display().to_string());
}

#[test]
fn config_show_masks_secrets_and_knows_both_notations() {
    let home = Home::new();
    home.good(&["init"]);
    let yaml = home.good(&["config", "show"]);
    assert!(yaml.contains("secret: \"***\"") || yaml.contains("secret: '***'"), "{yaml}");
    assert!(yaml.contains("port: 12049"), "{yaml}");
    let json: serde_json::Value =
        serde_json::from_str(&home.good(&["config", "show", "-o", "json"])).expect("JSON");
    assert_eq!(json["controlplane"]["jwt"]["secret"], "***");
    assert_eq!(json["shares"][0]["name"], "/export");
    let mut command = home.command(&["config", "show", "-o", "json"]);
    let level = ended(command.env("DITTOFS_LOGGING_LEVEL", "warn").output().expect("it runs"));
    assert!(level.out.contains("\"level\": \"WARN\""), "{}", level.out);
}

#[test]
fn validate_names_file_line_key_and_cure() {
    let home = Home::new();
    home.write_config("metrics: {prot: 9090}");
    let path = home.config().display().to_string();
    assert_eq!(
        home.bad(&["config", "validate"]),
        format!(
            "error: {path}:6: metrics.prot: unknown key; did you mean `port`? known here: \
             enabled, port, bind\n"
        )
    );
    // A server does not start with it either, in whatever way.
    for args in [&["start"][..], &["start", "-f"]] {
        assert!(home.bad(args).contains("metrics.prot: unknown key"), "{args:?}");
    }
}

#[test]
fn a_missing_or_unreadable_file() {
    let home = Home::new();
    let none = home.bad(&["config", "validate"]);
    let cure = "there is no configuration file; `dittofs init` writes one, --config names one\n";
    assert!(none.starts_with("error: configuration: cache.path: missing;"), "{none}");
    assert!(none.ends_with(cure), "{none}");
    let named = home.bad(&["--config", "nowhere.yaml", "start", "-f"]);
    assert_eq!(
        named,
        "error: nowhere.yaml: cannot be read: No such file or directory (os error 2); name another \
         file with --config\n"
    );
    write(&home.path("binary.yaml"), "a: \u{0}\n");
    let binary = home.bad(&["config", "validate", "--config", "binary.yaml"]);
    assert!(binary.starts_with("error: binary.yaml"), "{binary}");
}

#[test]
fn edit_checks_what_the_editor_left() {
    let home = Home::new();
    assert!(home.bad(&["config", "edit"]).contains("`dittofs init` writes one"));
    home.write_config("");
    let with = |editor: &str| {
        let mut command = home.command(&["config", "edit"]);
        ended(command.env("EDITOR", editor).output().expect("it runs"))
    };
    assert_eq!(with("true").code, Some(0));
    let failed = with("false");
    assert_eq!(failed.code, Some(1));
    assert!(failed.err.contains("the file is as the editor left it"), "{}", failed.err);
    let broken = with("sed -i s/metadata_store/metadata_stor/");
    assert_eq!(broken.code, Some(1));
    assert!(broken.err.contains("did you mean `metadata_store`?"), "{}", broken.err);
}

#[test]
fn schema_is_json_on_the_terminal_and_in_a_file() {
    let home = Home::new();
    let text = home.good(&["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["title"], "DittoFS");
    home.good(&["config", "schema", "-o", "schema.json"]);
    assert_eq!(std::fs::read_to_string(home.path("schema.json")).expect("written"), text);
}

#[test]
fn version_completion_and_usage() {
    let home = Home::new();
    let short = home.good(&["version", "--short"]);
    assert_eq!(short.trim(), env!("CARGO_PKG_VERSION"));
    assert!(home.good(&["version"]).starts_with(&format!("dittofs {}", short.trim())));
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(home.good(&["completion", shell]).contains("quickstart"), "{shell}");
    }
    for args in [&["frobnicate"][..], &["start", "--no-such-flag"], &["completion", "tcl"]] {
        let ended = home.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.err);
    }
}

#[test]
fn nothing_runs() {
    let home = Home::new();
    let pid = home.path("state/dittofs/dittofs.pid").display().to_string();
    for args in [&["stop"][..], &["status"], &["stop", "--force"]] {
        assert_eq!(home.bad(args), format!("error: no server runs with {pid}\n"), "{args:?}");
    }
    // A file left over from a crash names a process that has nothing to do with us.
    write(&home.path("state/dittofs/dittofs.pid"), "1\n");
    assert_eq!(home.bad(&["stop"]), format!("error: no server runs with {pid}\n"));
    let log = home.path("state/dittofs/dittofs.log").display().to_string();
    let logs = home.bad(&["logs"]);
    assert!(logs.starts_with(&format!("error: the log {log}: No such file")), "{logs}");
    write(
        &home.path("x.log"),
        "2026-02-09T10:00:00.000Z  INFO a\n2026-02-09T10:00:09.000Z  INFO b\n",
    );
    let late = home.good(&["logs", "--log-file", "x.log", "--since", "2026-02-09T10:00:05Z"]);
    assert_eq!(late, "2026-02-09T10:00:09.000Z  INFO b\n");
    assert!(home.bad(&["logs", "--since", "noon"]).contains("expected a time such as"));
}
