//! Where files are when nobody names them: the XDG base directories, or those of a service.

use std::path::{Path, PathBuf};

/// The configuration of a service.
const SERVICE_CONFIG: &str = "/etc/dittofs/config.yaml";

/// The file that `--config` names, else the user's, else the service's if it is there.
pub(crate) fn config(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(file) = named {
        return Ok(file.to_owned());
    }
    let service = Path::new(SERVICE_CONFIG);
    match below("XDG_CONFIG_HOME", ".config", "--config") {
        Ok(dir) if dir.join("config.yaml").exists() || !service.exists() => {
            Ok(dir.join("config.yaml"))
        }
        Ok(_) => Ok(service.to_owned()),
        Err(_) if service.exists() => Ok(service.to_owned()),
        Err(why) => Err(why),
    }
}

/// The process id's file.
pub(crate) fn pid(named: Option<&Path>) -> Result<PathBuf, String> {
    match named {
        Some(file) => Ok(file.to_owned()),
        None => Ok(below("XDG_STATE_HOME", ".local/state", "--pid-file")?.join("dittofs.pid")),
    }
}

/// The log of a server in the background, unless the configuration names a file.
pub(crate) fn log() -> Result<PathBuf, String> {
    Ok(below("XDG_STATE_HOME", ".local/state", "--log-file")?.join("dittofs.log"))
}

/// Where a configuration keeps its data.
pub(crate) fn data(config: &Path) -> Result<PathBuf, String> {
    if config == Path::new(SERVICE_CONFIG) {
        return Ok(PathBuf::from("/var/lib/dittofs"));
    }
    below("XDG_DATA_HOME", ".local/share", "HOME or XDG_DATA_HOME")
}

/// Our folder below a base directory. A relative base means nothing (XDG specification).
fn below(variable: &str, fallback: &str, cure: &str) -> Result<PathBuf, String> {
    let base = std::env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(fallback));
    let base = base.or_else(home);
    base.map(|dir| dir.join("dittofs"))
        .ok_or_else(|| format!("neither {variable} nor HOME is set; give {cure}"))
}
