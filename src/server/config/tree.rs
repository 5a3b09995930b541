//! YAML text to a tree in which every value knows its line, with `${NAME}` filled in.
//!
//! Scalars stay text: what a value must be is known only to the key that reads it.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};

/// A value and the line it was written at, from 1; 0 when it was never written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Value {
    #[default]
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// What is wrong, and at which line; 0 when that is not known.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) line: u64,
    pub(crate) text: String,
}

/// Reads a document; an empty one is an empty map.
pub(crate) fn parse(text: &str, env: &BTreeMap<String, String>) -> Result<Node, Fault> {
    let root: Option<Spanned<Raw>> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let message = UserMessageFormatter.format_message(error.without_snippet());
        Fault { line, text: format!("not valid YAML: {message}") }
    })?;
    match root {
        None => Ok(Node { line: 1, value: Value::Map(Vec::new()) }),
        Some(root) => node(root, text, env),
    }
}

/// A value as the parser gives it, before its text is looked up in the source.
enum Raw {
    Null,
    /// Written without quotes and taken for a number or a truth value: `007` is more than 7.
    Plain,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, source: &str, env: &BTreeMap<String, String>) -> Result<Node, Fault> {
    let line = raw.referenced.line();
    let fill = |text: &str| fill(text, env).map_err(|text| Fault { line, text });
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Plain => Value::Text(written(&raw.defined, source).to_owned()),
        Raw::Text(text) => Value::Text(fill(&text)?),
        Raw::List(items) => Value::List(
            items.into_iter().map(|item| node(item, source, env)).collect::<Result<_, _>>()?,
        ),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let value = node(value, source, env)?;
                    Ok((key.value, Node { line: key.referenced.line(), ..value }))
                })
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Node { line, value })
}

/// The source text of a scalar.
fn written<'s>(place: &serde_saphyr::Location, source: &'s str) -> &'s str {
    let span = place.span();
    let range = || {
        let from = usize::try_from(span.byte_offset()?).ok()?;
        let len = usize::try_from(span.byte_len()?).ok()?;
        source.get(from..from.checked_add(len)?)
    };
    range().expect("the parser says where it found a scalar").trim()
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$${` stands for `${`.
fn fill(text: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = &from[2..];
            continue;
        }
        filled.push_str(before);
        let Some((inside, after)) = from[2..].split_once('}') else {
            return Err(format!("`{from}` has no closing brace; write $${{ for a literal ${{"));
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        match (env.get(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => filled.push_str(value),
            (None, Some(default)) => filled.push_str(default),
            (None, None) => {
                return Err(format!(
                    "the environment variable {name} is not set; set it, or write \
                     ${{{name}:-default}}"
                ));
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
