//! The S3 store against a real server, and against one that misbehaves on cue.

use std::{
    collections::VecDeque,
    net::TcpListener,
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use vocab::{BlockHash, StoreId};

use crate::{
    BlockKey, Kind, Put, S3, S3Config, S3Credentials, Store, StoreError,
    tests::{conformance, list},
};

const TESTLAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/testlab/s3");
const KEY: BlockKey =
    BlockKey { domain: StoreId(9), kind: Kind::Block, hash: BlockHash([0x5a; 32]) };

fn config(port: u16) -> S3Config {
    let mut config = S3Config::new("testlab");
    config.endpoint = Some(format!("http://127.0.0.1:{port}"));
    config.credentials = Some(S3Credentials {
        access_key: "testlab-access".into(),
        secret_key: "testlab-secret".into(),
        session_token: None,
    });
    config
}

/// A real server that ends with the test.
struct Testlab {
    server: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Testlab {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut run = Command::new(TESTLAB);
        let server = run.arg("run").arg(dir.path()).arg(port.to_string()).spawn();
        let server = server.expect("tools/testlab/s3 runs");
        let lab = Self { server, port, _dir: dir };
        let wait = Command::new(TESTLAB).arg("wait").arg(port.to_string()).status().unwrap();
        assert!(wait.success(), "tools/testlab/s3 run did not get ready; try it by hand");
        lab
    }
}

impl Drop for Testlab {
    fn drop(&mut self) {
        self.server.kill().expect("the server was there");
        self.server.wait().expect("the server was ours");
    }
}

#[tokio::test]
async fn a_real_server_keeps_the_contract() {
    let lab = Testlab::start();
    let mut config = config(lab.port);
    config.prefix = "/some/where/".into();
    let store = S3::new(&config).unwrap();
    assert_eq!(store.probe().await, Ok(vec![]));
    conformance(Arc::new(store)).await;

    // Pages longer than S3's own.
    config.prefix = String::new();
    let store = S3::new(&config).unwrap();
    let hash = |n: u32| BlockHash(*blake3::hash(&n.to_le_bytes()).as_bytes());
    let keys = (0..1100).map(|n| BlockKey::block(StoreId(1), hash(n)));
    let keys: Vec<BlockKey> = keys.collect();
    for some in keys.chunks(50) {
        let puts = some.iter().map(|key| store.put(key, Bytes::from_static(b"x")));
        futures_util::future::try_join_all(puts).await.unwrap();
    }
    let mut hashes: Vec<BlockHash> = keys.iter().map(|key| key.hash).collect();
    hashes.sort_unstable();
    assert_eq!(list(&store, StoreId(1), None, 5000).await, Ok((hashes.clone(), false)));
    let first = hashes[..1050].to_vec();
    assert_eq!(list(&store, StoreId(1), None, 1050).await, Ok((first, true)));

    config.bucket = "another".into();
    let refused = S3::new(&config).unwrap().probe().await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    config.bucket = "testlab".into();
    config.credentials.as_mut().unwrap().secret_key = "wrong".into();
    let refused = S3::new(&config).unwrap().probe().await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

/// What the misbehaving server does with one request.
#[derive(Clone)]
enum Cue {
    /// Answers with a status line's end and a body.
    Answer(&'static str, &'static str),
    /// Sends these bytes and closes the connection.
    Cut(&'static str),
    /// Sends these bytes and then nothing more.
    Hang(&'static str),
}

const OK: Cue = Cue::Answer("200 OK\r\nETag: \"e\"", "");
const BUSY: Cue = Cue::Answer("503 Slow Down", "<Error><Code>SlowDown</Code></Error>");
const NO_CONTENT: Cue = Cue::Answer("204 No Content", "");
const PART: &str = "206 Partial Content\r\nContent-Range: bytes 2-5/9";

/// A server that plays cues, one for each request, whatever the request is.
struct Stage {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    async fn start(cues: impl IntoIterator<Item = Cue>) -> Self {
        let cues = Arc::new(Mutex::new(cues.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stage = Self { port: listener.local_addr().unwrap().port(), seen: seen.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(play(socket, cues.clone(), seen.clone()));
            }
        });
        stage
    }

    fn store(&self) -> S3 {
        let mut config = config(self.port);
        config.attempt_timeout = Duration::from_millis(400);
        config.operation_timeout = Duration::from_secs(4);
        S3::new(&config).unwrap()
    }

    /// Requests so far, as method, path and headers.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn play(
    mut socket: TcpStream,
    cues: Arc<Mutex<VecDeque<Cue>>>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    while let Some(head) = read_request(&mut socket).await {
        seen.lock().unwrap().push(head);
        let cue = cues.lock().unwrap().pop_front().expect("a cue for each request");
        let (text, then_hang) = match cue {
            Cue::Answer(status, body) => {
                let len = body.len();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n{body}");
                socket.write_all(answer.as_bytes()).await.unwrap();
                continue;
            }
            Cue::Cut(text) => (text, false),
            Cue::Hang(text) => (text, true),
        };
        socket.write_all(text.as_bytes()).await.unwrap();
        if then_hang {
            std::future::pending::<()>().await;
        }
        return;
    }
}

/// The head of the next request, after its body was read too.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let len = len.map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    socket.read_exact(&mut body).await.ok()?;
    Some(head)
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let stage = Stage { port, seen: Arc::default() };
    let put = stage.store().put(&KEY, Bytes::from_static(b"x")).await;
    assert!(matches!(put, Err(StoreError::Unavailable(_))), "{put:?}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let busy = Cue::Answer("429 Too Many Requests", "");
    let stage = Stage::start([BUSY, busy, Cue::Cut(""), OK]).await;
    assert_eq!(stage.store().put(&KEY, Bytes::from_static(b"x")).await, Ok(Put::Created));
    assert_eq!(stage.seen().len(), 4);
}

#[tokio::test]
async fn a_body_that_is_cut_or_slow_is_read_again() {
    let part = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-5/9\r\n\
                Content-Length: 4\r\n\r\n23";
    let stage = Stage::start([Cue::Cut(part), Cue::Hang(part), Cue::Answer(PART, "2345")]).await;
    let read = stage.store().get(&KEY, 2, 4).await;
    assert_eq!(read, Ok(Bytes::from_static(b"2345")));
    assert!(stage.seen().iter().all(|request| request.contains("range: bytes=2-5\r\n")));
}

#[tokio::test]
async fn bytes_of_another_range_are_not_taken() {
    let other = Cue::Answer("206 Partial Content\r\nContent-Range: bytes 0-3/9", "0123");
    let more = Cue::Answer(PART, "23456");
    let whole = Cue::Answer("200 OK", "012345678");
    for odd in [other, more, whole] {
        let stage = Stage::start([odd, Cue::Answer(PART, "2345")]).await;
        assert_eq!(stage.store().get(&KEY, 2, 4).await, Ok(Bytes::from_static(b"2345")));
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_in_the_end() {
    let stage = Stage::start(vec![Cue::Hang(""); 100]).await;
    let read = stage.store().get(&KEY, 2, 4).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(stage.seen().len() > 2);
}

#[tokio::test]
async fn keys_that_are_renewed_in_their_file_count_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let renew = async |id: &str| {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n");
        tokio::fs::write(&path, text).await.unwrap();
    };
    let stage = Stage::start([OK, OK]).await;
    let mut config = config(stage.port);
    config.credentials = None;
    config.credentials_file = Some(path.clone());
    let store = S3::new(&config).unwrap();
    for id in ["OLD", "NEW"] {
        renew(id).await;
        assert_eq!(store.put(&KEY, Bytes::from_static(b"x")).await, Ok(Put::Created));
        let seen = stage.seen();
        assert!(seen.last().unwrap().contains(&format!("Credential={id}/")), "{seen:?}");
    }
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let error = |status, code: &str| {
        let body = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        Cue::Answer(status, String::leak(body))
    };
    let cases = [
        (error("404 Not Found", "NoSuchKey"), "NotFound"),
        (error("404 Not Found", "NoSuchBucket"), "Refused"),
        (error("403 Forbidden", "AccessDenied"), "Refused"),
        (error("301 Moved Permanently", "PermanentRedirect"), "Refused"),
        (error("507 Insufficient Storage", "InsufficientStorage"), "Full"),
    ];
    for (cue, want) in cases {
        let stage = Stage::start([cue]).await;
        let error = stage.store().get(&KEY, 2, 4).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(want), "{error:?} is not {want}");
        assert_eq!(stage.seen().len(), 1, "{want} is final");
    }
    // Keys that are renewed and clocks that are set make these go away.
    for code in ["ExpiredToken", "RequestTimeTooSkewed"] {
        let stage = Stage::start([error("403 Forbidden", code), OK]).await;
        let put = stage.store().put(&KEY, Bytes::from_static(b"x")).await;
        assert_eq!((put, stage.seen().len()), (Ok(Put::Created), 2), "{code}");
    }
    let gone = Stage::start([error("404 Not Found", "NoSuchKey")]).await;
    assert_eq!(gone.store().delete(&KEY).await, Ok(()));
    let past_end = Stage::start([error("416 Range Not Satisfiable", "InvalidRange")]).await;
    assert_eq!(past_end.store().get(&KEY, 2, 4).await, Ok(Bytes::new()));
}

/// Cues for a probe; `again` answers the conditional PUT of a key that is there.
fn probe_cues(again: Cue) -> Vec<Cue> {
    let whole = "dittofs writes, reads and removes this";
    let range = "206 Partial Content\r\nContent-Range: bytes 8-13/38";
    let list = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    let gone = Cue::Answer("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>");
    let read = [Cue::Answer("200 OK", whole), Cue::Answer(range, "writes")];
    [vec![OK], read.into(), vec![again, Cue::Answer("200 OK", list), NO_CONTENT, gone]].concat()
}

#[tokio::test]
async fn conditional_put_is_used_where_the_probe_saw_it_kept() {
    let kept = Cue::Answer("412 Precondition Failed", "");
    let conflict = Cue::Answer("409 Conflict", "");
    let stage = Stage::start([probe_cues(kept.clone()), vec![conflict, kept]].concat()).await;
    let store = stage.store();
    assert_eq!(store.probe().await, Ok(vec![]));
    assert_eq!(store.put(&KEY, Bytes::from_static(b"x")).await, Ok(Put::Present));
    let requests = stage.seen();
    assert_eq!(requests.len(), 9, "a conflict is neither there nor an error: asked again");
    assert!(requests[7..].iter().all(|request| request.contains("if-none-match: *\r\n")));
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_remarked_and_not_relied_on() {
    for again in [OK, Cue::Answer("501 Not Implemented", "")] {
        let stage = Stage::start([probe_cues(again), vec![OK]].concat()).await;
        let store = stage.store();
        let remarks = store.probe().await.unwrap();
        assert!(remarks.len() == 1 && remarks[0].contains("If-None-Match"), "{remarks:?}");
        assert_eq!(store.put(&KEY, Bytes::from_static(b"x")).await, Ok(Put::Created));
        assert!(!stage.seen().last().unwrap().contains("if-none-match"));
    }
}

#[tokio::test]
async fn a_listing_out_of_order_is_refused() {
    let list = "<ListBucketResult><IsTruncated>false</IsTruncated>\
        <Contents><Key>b</Key></Contents><Contents><Key>a</Key></Contents></ListBucketResult>";
    let stage = Stage::start([Cue::Answer("200 OK", list)]).await;
    let listed = stage.store().list(StoreId(9), Kind::Block, None, 10).await;
    assert!(matches!(listed, Err(StoreError::Refused(_))), "{listed:?}");
}
