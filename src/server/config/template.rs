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

impl Template<'_> {
    /// The whole file.
    pub(crate) fn text(&self) -> String {
        let Self { title, cache, meta, blocks, metrics, squash: (squash, why), root_mode, .. } =
            self;
        let mut text = format!(
            "# {title}
# Every key: `dittofs config schema`. What is in force: `dittofs config show`.
# A value may be ${{NAME}} or ${{NAME:-default}} of the environment; a variable such as
# DITTOFS_LOGGING_LEVEL wins over this file. Sizes: 512Mi, 1Gi, 1GB. Durations: 30s, 15m, 168h.
# Relative paths begin at this file's folder.

logging:
  level: INFO               # TRACE, DEBUG, INFO, WARN, ERROR
  format: text              # or json
  output: stdout            # or stderr, or a file; SIGHUP opens the file again

shutdown_timeout: 30s       # how long connections may end what they are doing

# Counters for Prometheus at /metrics, and /health, /health/ready, /status.
metrics:
  enabled: {metrics}
  port: 9090
  bind: 127.0.0.1

# Every write is first safe in this log; put it on a fast local disk. One server at a time.
cache:
  path: {cache}
  size: 1Gi                 # blocks in memory
  log_size: 2Gi             # most bytes of log on the disk

metadata:
  stores:
    default:
      type: badger          # or memory (gone with the process)
      badger:
        db_path: {meta}

content:
  stores:
    default:
      compression: none     # or lz4, zstd
      type: filesystem      # or s3, memory
      filesystem:
        path: {blocks}
#   To rest in a bucket instead:
#     type: s3
#     s3:
#       bucket: my-bucket
#       region: us-east-1
#       endpoint: http://127.0.0.1:9000      # leave out for Amazon
#       access_key: ${{AWS_ACCESS_KEY_ID}}
#       secret_key: ${{AWS_SECRET_ACCESS_KEY}}
#       prefix: dittofs/

shares:
  - name: /export
    metadata_store: default
    content_store: default
    read_only: false
{why}
    squash: {squash}
    root_mode: {root_mode}         # of the share's top folder when it is made
    # allow: [192.168.0.0/16]                # none: everybody
    # deny: [192.168.1.66]

adapters:
  nfs:
    port: 12049             # NFS and MOUNT
    bind: 0.0.0.0
"
        );
        if let Some(secret) = self.jwt_secret {
            text.push_str(&format!(
                "
# The REST API. Not offered yet; the secret is here so that tokens outlive restarts once it is.
controlplane:
  jwt:
    secret: {secret}
"
            ));
        }
        text
    }
}
