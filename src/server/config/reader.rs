//! The walk through a configuration: each key is named once, where it is read.
//!
//! From that one walk come the typed values, the environment's and the flags' names, every error,
//! what `config show` prints, and the JSON Schema. A key that nobody reads is an error.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use super::{
    Problem,
    fact::Fact,
    tree::{Node, Value},
    values::Scalar,
};

/// The prefix of environment variables.
const PREFIX: &str = "DITTOFS_";

/// What a walk reads from, and what it has found so far.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    /// Values that win over everything: flags, by key path.
    pub(crate) flags: &'a BTreeMap<&'static str, String>,
    /// The process's environment.
    pub(crate) env: &'a BTreeMap<String, String>,
    /// Where relative paths begin.
    pub(crate) dir: &'a Path,
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    problems: Vec<Problem>,
    env_known: BTreeSet<String>,
}

/// A fixed set of keys of the configuration, while they are read.
#[derive(Debug)]
pub(crate) struct Section<'w> {
    walk: &'w Walk<'w>,
    path: String,
    doc: &'static str,
    line: u64,
    entries: Vec<(&'w str, &'w Node)>,
    /// Groups whose keys may also stand beside them.
    flat: Vec<(&'static str, &'static [&'static str])>,
    /// Second names of keys in the environment.
    also: Vec<(&'static str, &'static str)>,
    /// Not shown unless something is given.
    is_quiet: bool,
    facts: Vec<(String, Fact)>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        flags: &'a BTreeMap<&'static str, String>,
        env: &'a BTreeMap<String, String>,
        dir: &'a Path,
    ) -> Self {
        Self { flags, env, dir, found: RefCell::default() }
    }

    /// The whole document.
    pub(crate) fn root(&'a self, node: &'a Node) -> Section<'a> {
        Section::new(self, String::new(), "DittoFS configuration", Some(node))
    }

    /// Notes what is wrong with a key.
    pub(crate) fn problem(&self, line: u64, path: &str, text: impl Into<String>) {
        let problem = Problem { line, path: path.to_owned(), text: text.into() };
        self.found.borrow_mut().problems.push(problem);
    }

    /// What was wrong, in the order of the lines, and variables that no key goes by.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<String>) {
        let found = self.found.into_inner();
        let mut problems = found.problems;
        problems.sort_by_key(|problem| problem.line);
        let is_stray =
            |name: &&String| name.starts_with(PREFIX) && !found.env_known.contains(*name);
        let strays = self.env.keys().filter(is_stray).map(|name| {
            match nearest(name, found.env_known.iter().map(String::as_str)) {
                Some(near) => {
                    format!("{name} is no key of the configuration; the nearest is {near}")
                }
                None => format!("{name} is no key of the configuration"),
            }
        });
        (problems, strays.collect())
    }

    /// The environment's word for a key. Also remembers that the variable has a meaning.
    fn env(&self, path: &str) -> Option<(String, &'a String)> {
        let name = variable(path);
        self.found.borrow_mut().env_known.insert(name.clone());
        let value = self.env.get(&name)?;
        Some((name, value))
    }

    /// The middle parts of variables `PREFIX…SUFFIX`.
    fn env_between(&self, before: &str, after: &str) -> BTreeSet<String> {
        let middle = |name: &String| {
            let middle = name.strip_prefix(before)?.strip_suffix(after)?;
            (!middle.is_empty()).then(|| middle.to_ascii_lowercase())
        };
        self.env.keys().filter_map(middle).collect()
    }
}

impl<'w> Section<'w> {
    fn new(
        walk: &'w Walk<'w>,
        path: String,
        doc: &'static str,
        node: Option<&'w Node>,
    ) -> Section<'w> {
        let line = node.map_or(0, |node| node.line);
        let entries = match node.map(|node| &node.value) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Map(entries)) => {
                entries.iter().map(|(key, node)| (key.as_str(), node)).collect()
            }
            Some(Value::Text(_) | Value::List(_)) => {
                walk.problem(line, &path, "expected keys and values below it");
                Vec::new()
            }
        };
        let (flat, also, facts) = (Vec::new(), Vec::new(), Vec::new());
        Section { walk, path, doc, line, entries, flat, also, is_quiet: false, facts }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn entry(&self, key: &str) -> Option<&'w Node> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, node)| *node)
    }

    /// Something was written here, in the file or by the environment.
    pub(crate) fn is_given(&self) -> bool {
        let prefix = format!("{}_", variable(&self.path));
        self.line > 0
            || !self.entries.is_empty()
            || self.walk.env.keys().any(|name| name.starts_with(&prefix))
    }

    /// Nothing says what this key is.
    pub(crate) fn is_absent(&self, key: &str) -> bool {
        self.text(key).is_none() && self.entry(key).is_none_or(|node| is_scalar(&node.value))
    }

    /// Its defaults mean nothing when nothing is given.
    pub(crate) fn quiet(&mut self) {
        self.is_quiet = true;
    }

    /// Keys of a group may stand beside the group, too.
    pub(crate) fn flat(&mut self, group: &'static str, keys: &'static [&'static str]) {
        self.flat.push((group, keys));
    }

    /// A key's second name in the environment.
    pub(crate) fn also(&mut self, key: &'static str, name: &'static str) {
        self.knows(name);
        self.also.push((key, name));
    }

    /// A variable that is read elsewhere.
    pub(crate) fn knows(&self, name: &str) {
        self.walk.found.borrow_mut().env_known.insert(name.to_owned());
    }

    /// The environment has this variable, whatever its name.
    pub(crate) fn env_has(&self, name: &str) -> bool {
        self.walk.env.get(name).is_some_and(|value| !value.is_empty())
    }

    /// Notes what is wrong with one of the keys.
    pub(crate) fn problem(&self, key: &str, text: impl Into<String>) {
        let line = self.entry(key).map_or(self.line, |node| node.line);
        let path = if key.is_empty() { self.path.clone() } else { self.path_of(key) };
        self.walk.problem(line, &path, text);
    }

    /// The text of a scalar: flag, else environment, else file.
    fn text(&self, key: &str) -> Option<(u64, String, String)> {
        let path = self.path_of(key);
        let node = self.entry(key);
        let env = self.walk.env(&path);
        if let Some(text) = self.walk.flags.get(path.as_str()) {
            return Some((0, path, text.clone()));
        }
        if let Some((name, text)) = env {
            return Some((0, name, text.clone()));
        }
        let second = self.also.iter().find(|(name, _)| *name == key);
        if let Some((name, text)) = second.and_then(|(_, name)| self.walk.env.get_key_value(*name))
        {
            return Some((0, name.clone(), text.clone()));
        }
        let node = node?;
        match &node.value {
            Value::Null => None,
            Value::Text(text) => Some((node.line, path, text.clone())),
            Value::List(_) | Value::Map(_) => {
                self.walk.problem(node.line, &path, "expected a single value");
                None
            }
        }
    }

    /// A value that may be absent.
    pub(crate) fn option<T: Scalar>(&mut self, key: &'static str, doc: &'static str) -> Option<T> {
        self.read(key, None, doc)
    }

    /// A value with a default.
    pub(crate) fn value<T: Scalar>(
        &mut self,
        key: &'static str,
        default: T,
        doc: &'static str,
    ) -> T {
        let shown = (!T::SECRET).then(|| default.show());
        self.read(key, shown, doc).unwrap_or(default)
    }

    /// A value that must be there; `cure` says what to write.
    pub(crate) fn required<T: Scalar + Default>(
        &mut self,
        key: &'static str,
        cure: &str,
        doc: &'static str,
    ) -> T {
        let is_empty = self.text(key).is_some_and(|(_, _, text)| text.is_empty());
        if is_empty || self.is_absent(key) {
            self.problem(key, format!("missing; {cure}"));
        }
        if is_empty {
            return T::default();
        }
        self.read(key, None, doc).unwrap_or_default()
    }

    fn read<T: Scalar>(
        &mut self,
        key: &'static str,
        default: Option<Json>,
        doc: &'static str,
    ) -> Option<T> {
        let value = self.text(key).and_then(|(line, place, text)| match self.parse::<T>(&text) {
            Ok(value) => Some(value),
            Err(expected) => {
                let given = if T::SECRET { "***" } else { &text };
                self.walk.problem(line, &place, format!("{expected}, not `{given}`"));
                None
            }
        });
        let shown = value.as_ref().map(Scalar::show).or_else(|| default.clone());
        self.facts.push((key.to_owned(), Fact::Leaf { doc, schema: T::schema(), default, shown }));
        value
    }

    fn parse<T: Scalar>(&self, text: &str) -> Result<T, String> {
        if !T::IS_PATH || text.is_empty() || text.starts_with("~/") {
            return T::parse(text);
        }
        let path: PathBuf = self.walk.dir.join(text).components().collect();
        T::parse(&path.display().to_string())
    }

    /// A list of scalars; in the environment with commas between.
    pub(crate) fn values<T: Scalar>(&mut self, key: &'static str, doc: &'static str) -> Vec<T> {
        let path = self.path_of(key);
        let mut texts: Vec<(u64, String)> = Vec::new();
        match (self.walk.env(&path), self.entry(key)) {
            (Some((_, list)), _) => {
                let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
                texts.extend(items.map(|item| (0, item.to_owned())));
            }
            (None, None) => {}
            (None, Some(node)) => match &node.value {
                Value::Null => {}
                Value::Text(text) => texts.push((node.line, text.clone())),
                Value::Map(_) => self.problem(key, "expected a list"),
                Value::List(items) => {
                    for item in items {
                        match &item.value {
                            Value::Text(text) => texts.push((item.line, text.clone())),
                            Value::Null | Value::List(_) | Value::Map(_) => {
                                self.walk.problem(item.line, &path, "expected single values")
                            }
                        }
                    }
                }
            },
        }
        let mut values = Vec::new();
        for (line, text) in texts {
            match T::parse(&text) {
                Ok(value) => values.push(value),
                Err(expected) => {
                    self.walk.problem(line, &path, format!("{expected}, not `{text}`"));
                }
            }
        }
        let shown = values.iter().map(Scalar::show).collect();
        self.facts.push((key.to_owned(), Fact::Leaves { doc, schema: T::schema(), shown }));
        values
    }

    /// Keys below this one.
    pub(crate) fn section<T>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        read: impl FnOnce(&mut Section<'w>) -> T,
    ) -> T {
        let mut section = Section::new(self.walk, self.path_of(key), doc, self.entry(key));
        let flat =
            self.flat.iter().find(|(group, _)| *group == key).map_or(&[][..], |(_, keys)| keys);
        for (name, node) in self.entries.iter().filter(|(name, _)| flat.contains(name)) {
            match section.entry(name) {
                Some(_) => self.problem(name, format!("stands below {key} too; keep one of them")),
                None => section.entries.push((*name, *node)),
            }
        }
        let value = read(&mut section);
        self.facts.push((key.to_owned(), section.finish()));
        value
    }

    /// Names of the user's choice, each with the same keys below it. By the environment alone a
    /// name exists when its `mark` is set there.
    pub(crate) fn names<T>(
        &mut self,
        key: &'static str,
        mark: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&str, &mut Section<'w>) -> T,
    ) -> BTreeMap<String, T> {
        let path = self.path_of(key);
        let entries = Section::new(self.walk, path.clone(), doc, self.entry(key)).entries;
        let mut nodes: Vec<(String, Option<&Node>)> =
            entries.into_iter().map(|(name, node)| (name.to_owned(), Some(node))).collect();
        let marks = (format!("{}_", variable(&path)), format!("_{}", variable_part(mark)));
        for name in self.walk.env_between(&marks.0, &marks.1) {
            if !nodes.iter().any(|(known, _)| variable_part(known) == variable_part(&name)) {
                nodes.push((name, None));
            }
        }
        let mut values = BTreeMap::new();
        let mut facts = Vec::new();
        for (name, node) in nodes {
            let mut section = Section::new(self.walk, format!("{path}.{name}"), "", node);
            values.insert(name.clone(), read(&name, &mut section));
            facts.push((name, section.finish()));
        }
        self.facts.push((key.to_owned(), Fact::Names { doc, keys: facts }));
        values
    }

    /// A list of the same keys. By the environment alone an item exists when its `mark` is set.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        mark: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&mut Section<'w>) -> T,
    ) -> Vec<T> {
        let path = self.path_of(key);
        let mut nodes: Vec<Option<&Node>> = match self.entry(key).map(|node| &node.value) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::List(items)) => items.iter().map(Some).collect(),
            Some(Value::Text(_) | Value::Map(_)) => {
                self.problem(key, "expected a list: put a dash before each item");
                Vec::new()
            }
        };
        let marked = |index: usize| variable(&format!("{path}.{index}.{mark}"));
        while self.walk.env.contains_key(&marked(nodes.len())) {
            nodes.push(None);
        }
        let mut values = Vec::new();
        let mut items = Vec::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let mut section = Section::new(self.walk, format!("{path}.{index}"), "", node);
            values.push(read(&mut section));
            items.push(section.finish());
        }
        self.facts.push((key.to_owned(), Fact::List { doc, items }));
        values
    }

    /// Keys that are taken as they are, because they mean nothing here.
    pub(crate) fn open(&mut self, key: &'static str, doc: &'static str) {
        self.facts.push((key.to_owned(), Fact::Open { doc }));
    }

    /// Refuses keys that nobody read.
    pub(crate) fn finish(self) -> Fact {
        let beside = self.flat.iter().flat_map(|(_, keys)| keys.iter().copied());
        let known: Vec<&str> =
            self.facts.iter().map(|(key, _)| key.as_str()).chain(beside).collect();
        for (key, node) in self.entries.iter().filter(|(key, _)| !known.contains(key)) {
            let near = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? "),
                None => String::new(),
            };
            let text = format!("unknown key; {near}known here: {}", known.join(", "));
            self.walk.problem(node.line, &self.path_of(key), text);
        }
        let is_shown = !self.is_quiet || self.is_given();
        Fact::Keys { doc: self.doc, keys: self.facts, is_shown }
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Text(_))
}

/// `metrics.port` to `DITTOFS_METRICS_PORT`.
fn variable(path: &str) -> String {
    format!("{PREFIX}{}", variable_part(path))
}

fn variable_part(path: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    path.trim_start_matches('/').chars().map(upper).collect()
}

/// The known word that a wrong one was probably meant to be.
pub(crate) fn nearest<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let wrong_lower = wrong.to_ascii_lowercase();
    let near =
        known.map(|word| (strsim::osa_distance(&wrong_lower, &word.to_ascii_lowercase()), word));
    let (distance, word) = near.min()?;
    let longer = word.len().max(wrong.len());
    (distance * 3 <= longer.max(3)).then_some(word)
}
