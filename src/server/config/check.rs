//! What must hold between keys: names lead somewhere, and nothing is used twice.

use std::{collections::BTreeMap, path::Path};

use vocab::limits::SEGMENT_BYTES;

use super::{
    Config, ContentKind, MetadataStore,
    reader::{Walk, nearest},
    tree::{Node, Value},
};

/// Log segments that a slice needs to go on writing while another one is emptied.
const SEGMENTS_MIN: u64 = 2;

/// Notes every contradiction.
pub(super) fn check(config: &Config, root: &Node, walk: &Walk<'_>) {
    shares(config, root, walk);
    keys(config, root, walk);
    folders(config, root, walk);
    reactors(config, root, walk);
    if !config.nfs.enabled {
        walk.problem(line(root, "adapters.nfs.enabled"), "adapters.nfs.enabled", {
            "no adapter is left, so nothing would be served; set it to true"
        });
    }
    ports(config, root, walk);
}

/// Two that listen at one port would take each other's calls.
fn ports(config: &Config, root: &Node, walk: &Walk<'_>) {
    let portmapper = &config.nfs.portmapper;
    let ports = [
        ("adapters.nfs.port", config.nfs.enabled, config.nfs.port),
        ("adapters.nfs.portmapper.port", portmapper.enabled, portmapper.port),
        ("metrics.port", config.metrics.enabled, config.metrics.port),
    ];
    let used = |&(_, is_used, port): &(&str, bool, u16)| is_used && port != 0;
    for (index, &(key, _, port)) in ports.iter().enumerate().filter(|(_, one)| used(one)) {
        let mut earlier = ports[..index].iter().filter(|one| used(one));
        if let Some((other, ..)) = earlier.find(|one| one.2 == port) {
            let text = format!("port {port} is {other} too; choose another");
            walk.problem(line(root, key), key, text);
        }
    }
}

/// Content stores name keys that are there.
fn keys(config: &Config, root: &Node, walk: &Walk<'_>) {
    for (store, content) in &config.content {
        let Some(key) = content.key.as_ref().filter(|key| !config.keys.contains_key(*key)) else {
            continue;
        };
        let path = format!("content.stores.{store}.encryption.key");
        let cure = match nearest(key, config.keys.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it below keys".to_owned(),
        };
        walk.problem(line(root, &path), &path, format!("no key `{key}`; {cure}"));
    }
}

fn shares(config: &Config, root: &Node, walk: &Walk<'_>) {
    if config.shares.is_empty() {
        walk.problem(line(root, "shares"), "shares", {
            "none, so nothing would be served; add one, for example \
             {name: /export, metadata_store: NAME, content_store: NAME}"
        });
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, share) in config.shares.iter().enumerate() {
        let problem = |key: &str, text: String| {
            let path = format!("shares.{index}.{key}");
            walk.problem(line(root, &path), &path, text);
        };
        let name = share.vfs.name.as_str();
        if !name.is_empty() {
            if !name.starts_with('/') || name.len() < 2 || name.ends_with('/') {
                problem("name", format!("expected a path such as /export, not `{name}`"));
            }
            if let Some(first) = seen.insert(name, index) {
                problem("name", format!("`{name}` is shares.{first} too; rename one of them"));
            }
        }
        let stores = [
            ("metadata", &share.metadata_store, config.metadata.keys().collect::<Vec<_>>()),
            ("content", &share.content_store, config.content.keys().collect()),
        ];
        for (kind, store, known) in stores {
            if store.is_empty() || known.contains(&store) {
                continue;
            }
            let near = nearest(store, known.iter().map(|name| name.as_str()));
            let cure = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("define it below {kind}.stores"),
            };
            problem(&format!("{kind}_store"), format!("no {kind} store `{store}`; {cure}"));
        }
        // Stores that are not known are a problem of their own.
        let names = config.metadata.get(&share.metadata_store);
        let blocks = config.content.get(&share.content_store).map(|store| &store.kind);
        let names = names.is_none_or(|store| *store != MetadataStore::Memory);
        let blocks = blocks.is_none_or(|kind| !matches!(kind, ContentKind::Memory));
        if let Err(why) = vfs::offered(share.vfs.durability, names, blocks) {
            problem("durability", why);
        }
    }
}

/// Two stores in one folder would overwrite each other.
fn folders(config: &Config, root: &Node, walk: &Walk<'_>) {
    let mut folders: Vec<(String, &Path)> = vec![("cache.path".to_owned(), &config.cache.path)];
    for (name, store) in &config.metadata {
        if let MetadataStore::Lsm { path } = store {
            folders.push((format!("metadata.stores.{name}.badger.db_path"), path));
        }
    }
    for (name, store) in &config.content {
        if let ContentKind::Filesystem { path } = &store.kind {
            folders.push((format!("content.stores.{name}.filesystem.path"), path));
        }
    }
    folders.retain(|(_, path)| !path.as_os_str().is_empty());
    for (index, (key, path)) in folders.iter().enumerate() {
        let within = |other: &Path| path.starts_with(other) || other.starts_with(path);
        if let Some((other, there)) = folders[..index].iter().find(|(_, there)| within(there)) {
            let text = format!(
                "{} and {} of {other} lie in each other; give each a folder of its own",
                path.display(),
                there.display()
            );
            walk.problem(line(root, key), key, text);
        }
    }
    let mut buckets: BTreeMap<(&str, &str, &str), &str> = BTreeMap::new();
    for (name, store) in &config.content {
        let ContentKind::S3(s3) = &store.kind else { continue };
        let place = (s3.endpoint.as_deref().unwrap_or_default(), &*s3.bucket, &*s3.prefix);
        if let Some(other) = buckets.insert(place, name) {
            let key = format!("content.stores.{name}.s3.bucket");
            let text = format!("the same bucket and prefix as content.stores.{other}; set prefix");
            walk.problem(line(root, &key), &key, text);
        }
    }
}

fn reactors(config: &Config, root: &Node, walk: &Walk<'_>) {
    let cores = &config.reactors.cores;
    if let Some(count) = config.reactors.count
        && !cores.is_empty()
        && count != cores.len()
    {
        let text = format!("{} cores for {count} reactors; leave count out", cores.len());
        walk.problem(line(root, "reactors.cores"), "reactors.cores", text);
    }
    if let Some(core) = cores.iter().enumerate().find(|(i, core)| cores[..*i].contains(core)) {
        let text = format!("core {} stands there twice", core.1);
        walk.problem(line(root, "reactors.cores"), "reactors.cores", text);
    }
    let reactors = config.reactors.count.unwrap_or(cores.len()).max(1);
    let reactors = u64::try_from(reactors).unwrap_or(u64::MAX);
    let least = reactors.saturating_mul(SEGMENTS_MIN * u64::from(SEGMENT_BYTES));
    if config.cache.log_size.0 < least {
        let text =
            format!("too small for {reactors} reactors; expected at least {}Mi", least >> 20);
        walk.problem(line(root, "cache.log_size"), "cache.log_size", text);
    }
}

/// The line of a key, or of what is nearest above it in the file.
fn line(root: &Node, path: &str) -> u64 {
    let mut node = root;
    let mut line = 0;
    for part in path.split('.') {
        let below = match &node.value {
            Value::Map(entries) => {
                entries.iter().find(|(key, _)| key == part).map(|(_, node)| node)
            }
            Value::List(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
            Value::Null | Value::Text(_) => None,
        };
        // A flat key has no group above it.
        match below {
            Some(below) => {
                node = below;
                line = below.line;
            }
            None => continue,
        }
    }
    line
}
