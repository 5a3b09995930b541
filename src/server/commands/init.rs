//! `dittofs init`: a commented configuration that works as it is.

use std::path::Path;

use crate::{cli::Init, config::template::Template, paths};

/// Why a client's root is nobody, and why everybody may write all the same.
const SQUASH_WHY: &str = "\
    # root_to_guest makes a client's root the anonymous user (65534); none leaves ids alone.
    # root_mode 1777: everybody may make files, only their owner may remove them, as in /tmp.";

/// Writes the file, unless one is there.
pub(crate) fn run(named: Option<&Path>, args: &Init) -> Result<(), String> {
    let path = paths::config(named)?;
    if path.exists() && !args.force {
        return Err(format!("{} is there already; --force replaces it", path.display()));
    }
    let data = paths::data(&path)?;
    let below = |name: &str| quoted(&data.join(name).display().to_string());
    let secret: String = (0..4).map(|_| format!("{:016x}", reactor::rng::random_u64())).collect();
    let template = Template {
        title: "DittoFS",
        cache: &below("cache"),
        meta: &below("meta"),
        blocks: &below("blocks"),
        metrics: false,
        squash: ("root_to_guest", SQUASH_WHY),
        root_mode: "1777",
        jwt_secret: Some(&secret),
    };
    super::write_private(&path, &template.text())?;
    super::say(&format!("Wrote {}. Look at it, then: dittofs start\n", path.display()))
}

/// A text as YAML takes it, in quotes unless it is plain.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    // A JSON text is a YAML text; a brace after a dollar would ask for the environment.
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}
