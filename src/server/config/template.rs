//! The configuration files that `init` and `quickstart` write.

/// What the file of a new server says.
#[derive(Debug)]
pub(crate) struct Template<'a> {
    /// The first lines, as comments.
    pub(crate) title: &'a str,
    /// Folders; relative ones count from the file's folder.
    pub(crate) cache: &'a str,
    pub(crate) meta: &'a str,
    pub(crate) blocks: &'a str,
    /// Serve metrics.
    pub(crate) metrics: bool,
    /// How ids are changed, and the reason as a comment.
    pub(crate) squash: (&'a str, &'a str),
    /// Permission bits of the share's top folder.
    pub(crate) root_mode: &'a str,
    /// Tokens of the REST API.
    pub(crate) jwt_secret: Option<&'a str>,
}

/// The file with its gaps, `@name@`.
const FILE: &str = include_str!("template.yaml");
/// What follows when there is a secret.
const JWT: &str = "
# The REST API. Not offered yet; the secret is here so that tokens outlive restarts once it is.
controlplane:
  jwt:
    secret: @secret@
";

impl Template<'_> {
    /// The whole file.
    pub(crate) fn text(&self) -> String {
        let gaps = [
            ("@title@", self.title),
            ("@cache@", self.cache),
            ("@meta@", self.meta),
            ("@blocks@", self.blocks),
            ("@metrics@", if self.metrics { "true" } else { "false" }),
            ("@squash@", self.squash.0),
            ("@squash_why@", self.squash.1),
            ("@root_mode@", self.root_mode),
        ];
        let fill = |text: String, (gap, words): (&str, &str)| text.replace(gap, words);
        let text = gaps.into_iter().fold(FILE.to_owned(), fill);
        match self.jwt_secret {
            None => text,
            Some(secret) => text + &JWT.replace("@secret@", secret),
        }
    }
}
