//! What the walk through a configuration found out about each key: for `config show` and for the
//! JSON Schema.

use serde_json::{Value as Json, json};

/// What a key turned out to be, for `config show` and `config schema`.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// A scalar: its schema, its default, and its value in words anybody may see.
    Leaf { doc: &'static str, schema: Json, default: Option<Json>, shown: Option<Json> },
    /// A list of scalars.
    Leaves { doc: &'static str, schema: Json, shown: Vec<Json> },
    /// A fixed set of keys.
    Keys { doc: &'static str, keys: Vec<(String, Fact)>, is_shown: bool },
    /// Names of the user's choice.
    Names { doc: &'static str, keys: Vec<(String, Fact)> },
    /// A list.
    List { doc: &'static str, items: Vec<Fact> },
    /// Taken as it is.
    Open { doc: &'static str },
}

impl Fact {
    /// The values, as anybody may see them. Sections without any value are left out.
    pub(crate) fn shown(&self) -> Option<Json> {
        match self {
            Self::Leaf { shown, .. } => shown.clone(),
            Self::Leaves { shown, .. } => (!shown.is_empty()).then(|| json!(shown)),
            Self::Keys { is_shown: false, .. } | Self::Open { .. } => None,
            Self::Keys { keys, .. } | Self::Names { keys, .. } => {
                let keys: serde_json::Map<String, Json> = keys
                    .iter()
                    .filter_map(|(key, fact)| Some((key.clone(), fact.shown()?)))
                    .collect();
                (!keys.is_empty()).then_some(Json::Object(keys))
            }
            Self::List { items, .. } => {
                let items: Vec<Json> = items.iter().filter_map(Self::shown).collect();
                (!items.is_empty()).then_some(Json::Array(items))
            }
        }
    }

    /// The JSON Schema of this key. `Names` and `List` are described by their first item.
    pub(crate) fn schema(&self) -> Json {
        let (doc, mut schema) = match self {
            Self::Leaf { doc, schema, default, .. } => {
                let mut schema = schema.clone();
                if let Some(default) = default {
                    schema["default"] = default.clone();
                }
                (doc, schema)
            }
            Self::Leaves { doc, schema, .. } => (doc, json!({"type": "array", "items": schema})),
            Self::Keys { doc, keys, .. } => {
                let keys: serde_json::Map<String, Json> =
                    keys.iter().map(|(key, fact)| (key.clone(), fact.schema())).collect();
                let schema =
                    json!({"type": "object", "properties": keys, "additionalProperties": false});
                (doc, schema)
            }
            Self::Names { doc, keys } => {
                let below = keys.first().map_or(json!(true), |(_, fact)| fact.schema());
                (doc, json!({"type": "object", "additionalProperties": below}))
            }
            Self::List { doc, items } => {
                let below = items.first().map_or(json!(true), Self::schema);
                (doc, json!({"type": "array", "items": below}))
            }
            Self::Open { doc } => (doc, json!({})),
        };
        if !doc.is_empty() {
            schema["description"] = json!(doc);
        }
        schema
    }
}
