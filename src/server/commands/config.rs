//! `dittofs config`: show, edit, check, describe.

use std::{path::Path, process::Command};

use super::{load, say, source};
use crate::{
    cli::{Notation, Schema, Show},
    config::Config,
    paths,
};

/// Prints what is in force.
pub(crate) fn show(named: Option<&Path>, args: &Show) -> Result<(), String> {
    let config = load(&source(named)?)?;
    say(&match args.output {
        Notation::Json => json(&config.shown()),
        Notation::Yaml => yaml(&config.shown())?,
    })
}

/// Says whether a server would start with this configuration.
pub(crate) fn validate(named: Option<&Path>) -> Result<(), String> {
    let source = source(named)?;
    let config = load(&source)?;
    let what = match &source.file {
        Some(file) => file.display().to_string(),
        None => "the environment".to_owned(),
    };
    let remarks: String =
        config.remarks.iter().map(|remark| format!("remark: {remark}\n")).collect();
    say(&format!("{remarks}{what} is valid\n"))
}

/// Prints or writes the JSON Schema.
pub(crate) fn schema(args: &Schema) -> Result<(), String> {
    let text = json(&Config::schema());
    match &args.output {
        None => say(&text),
        Some(path) => super::write_private(path, &text),
    }
}

/// Opens the file in an editor and checks what came of it.
pub(crate) fn edit(named: Option<&Path>) -> Result<(), String> {
    let path = paths::config(named)?;
    if !path.exists() {
        return Err(format!("{} is not there; `dittofs init` writes one", path.display()));
    }
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok());
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // An editor may come with arguments, as in `code --wait`.
    let mut words = editor.split_whitespace();
    let program = words.next().ok_or("EDITOR is empty; set it to an editor")?;
    let status = Command::new(program).args(words).arg(&path).status();
    match status {
        Ok(status) if status.success() => validate(Some(&path)),
        Ok(status) => Err(format!("{editor}: {status}; the file is as the editor left it")),
        Err(error) => Err(format!("{editor}: {error}; set VISUAL or EDITOR to an editor")),
    }
}

/// Pretty JSON with a line end.
pub(crate) fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// YAML with a line end.
pub(crate) fn yaml(value: &serde_json::Value) -> Result<String, String> {
    let text = serde_saphyr::to_string(value).map_err(|error| error.to_string())?;
    Ok(format!("{}\n", text.trim_end()))
}
