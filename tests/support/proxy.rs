//! A faulty line to a real S3 server: an HTTP proxy that hangs, refuses, throttles, cuts and flips.
//!
//! One thread for each connection, one request after another on it. What goes wrong is drawn from
//! the seed for each request, but connections race for the draws.

use std::{
    io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    rng::Rng,
    server::{Port, S3Place},
};

/// How often a hanging connection and the listener look whether things have changed.
const LOOK: Duration = Duration::from_millis(10);

/// What is wrong with the line.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Connections are refused.
    pub refuse: bool,
    /// Connections are taken, and nothing ever comes back.
    pub hole: bool,
    /// Of a hundred requests so many end like this; in order, the first that is drawn.
    pub some: Vec<(u64, Fault)>,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Not passed on; answered with this status and code.
    Answer(u16, &'static str),
    /// Passed on, and the connection ends in the middle of the answer's body, or before it.
    Cut,
    /// Passed on, and a byte of the answer's body is another one. Only where the client can see it:
    /// blocks carry checksums, listings do not.
    Flip,
    /// Passed on, and the answer's body comes in two parts with a pause between.
    Slow(Duration),
}

/// A running proxy. It ends with the test's process.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    faults: Mutex<Faults>,
    rng: Mutex<Rng>,
    is_over: AtomicBool,
    requests: AtomicU64,
    puts: AtomicU64,
    faulty: AtomicU64,
}

impl Proxy {
    /// A sound line to the server at this place.
    ///
    /// # Panics
    /// When the place has no address.
    #[must_use]
    pub fn start(place: &S3Place, seed: u64) -> Self {
        let upstream = place.endpoint.strip_prefix("http://").expect("a plain line");
        let shared = Arc::new(Shared {
            upstream: upstream.parse().expect("an address"),
            faults: Mutex::default(),
            rng: Mutex::new(Rng::new(seed)),
            is_over: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            faulty: AtomicU64::new(0),
        });
        let port = Port::take();
        let (own, address) = (Arc::clone(&shared), port.address());
        std::thread::spawn(move || listen(&own, address));
        Self { port, shared }
    }

    /// The same bucket, at the proxy's end of the line.
    #[must_use]
    pub fn place(&self, of: &S3Place) -> S3Place {
        let endpoint = format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.port.number());
        S3Place { endpoint, ..of.clone() }
    }

    /// From now on, also for what is under way.
    pub fn set(&self, faults: Faults) {
        *locked(&self.shared.faults) = faults;
    }

    /// Requests that came, and how many of them went wrong.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.requests.load(Relaxed), self.shared.faulty.load(Relaxed))
    }

    /// PUTs that came.
    #[must_use]
    pub fn puts(&self) -> u64 {
        self.shared.puts.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(shared: &Arc<Shared>, address: SocketAddr) {
    let mut listener = None;
    while !shared.is_over.load(Relaxed) {
        if locked(&shared.faults).refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
            let listener = listener.iter().try_for_each(|one| one.set_nonblocking(true));
            listener.expect("a socket");
        }
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((client, _))) => {
                let shared = Arc::clone(shared);
                // How a connection ends is the client's concern.
                std::thread::spawn(move || drop(serve(&shared, client)));
            }
            Some(Err(_)) | None => std::thread::sleep(LOOK),
        }
    }
}

/// A request or an answer.
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

fn serve(shared: &Shared, client: TcpStream) -> Result<()> {
    client.set_nonblocking(false)?;
    client.set_nodelay(true)?;
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut to_client = client;
    let server = TcpStream::connect(shared.upstream)?;
    let mut from_server = BufReader::new(server.try_clone()?);
    let mut to_server = server;
    loop {
        let Some(head) = head(&mut from_client)? else { return Ok(()) };
        shared.requests.fetch_add(1, Relaxed);
        shared.puts.fetch_add(u64::from(head.starts_with(b"PUT ")), Relaxed);
        if value(&head, "expect").is_some() {
            to_client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let head = without(&head, "expect");
        let request = Message { body: body(&mut from_client, &head, false)?, head };
        shared.pass()?;
        let fault = shared.draw();
        shared.faulty.fetch_add(u64::from(fault.is_some()), Relaxed);
        if let Some(Fault::Answer(status, code)) = fault {
            let body = format!("<Error><Code>{code}</Code><Message>by the proxy</Message></Error>");
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: {length}\r\n\r\n{body}");
            to_client.write_all(answer.as_bytes())?;
            continue;
        }
        to_server.write_all(&request.head)?;
        to_server.write_all(&request.body)?;
        let head = head_of_answer(&mut from_server)?;
        let has_body = !request.head.starts_with(b"HEAD ");
        let mut answer = Message {
            body: if has_body { body(&mut from_server, &head, true)? } else { Vec::new() },
            head,
        };
        shared.pass()?;
        let middle = answer.body.len() / 2;
        match fault {
            Some(Fault::Flip) if is_block(&request.head) && !answer.body.is_empty() => {
                answer.body[middle] ^= 0x10;
            }
            Some(Fault::Cut) => {
                if middle > 0 {
                    to_client.write_all(&answer.head)?;
                    to_client.write_all(&answer.body[..middle])?;
                }
                return to_client.shutdown(Shutdown::Both);
            }
            Some(Fault::Slow(pause)) => {
                to_client.write_all(&answer.head)?;
                to_client.write_all(&answer.body[..middle])?;
                std::thread::sleep(pause);
                to_client.write_all(&answer.body[middle..])?;
                continue;
            }
            Some(Fault::Answer(..) | Fault::Flip) | None => {}
        }
        to_client.write_all(&answer.head)?;
        to_client.write_all(&answer.body)?;
    }
}

impl Shared {
    /// Waits while nothing passes. An error when the connection is to end.
    fn pass(&self) -> Result<()> {
        loop {
            let faults = locked(&self.faults).clone();
            if faults.refuse || self.is_over.load(Relaxed) {
                return Err(Error::from(ErrorKind::ConnectionReset));
            }
            if !faults.hole {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn draw(&self) -> Option<Fault> {
        let some = locked(&self.faults).some.clone();
        let mut luck = locked(&self.rng).number() % 100;
        for (percent, fault) in some {
            if luck < percent {
                return Some(fault);
            }
            luck -= percent;
        }
        None
    }
}

/// A GET of a block, which carries checksums.
fn is_block(head: &[u8]) -> bool {
    let names = |name: &[u8]| head.windows(name.len()).any(|bytes| bytes == name);
    head.starts_with(b"GET ") && (names(b"/blocks/") || names(b"/packs/"))
}

/// Up to the empty line; `None` when the connection ended before.
fn head(from: &mut BufReader<TcpStream>) -> Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head)? == 0 {
            let is_between = head.is_empty();
            return if is_between { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
    }
    Ok(Some(head))
}

/// The same of an answer, which must come, and may be announced.
fn head_of_answer(from: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    loop {
        let head = head(from)?.ok_or(ErrorKind::UnexpectedEof)?;
        if !head.starts_with(b"HTTP/1.1 100") {
            return Ok(head);
        }
    }
}

fn body(from: &mut BufReader<TcpStream>, head: &[u8], is_answer: bool) -> Result<Vec<u8>> {
    let status = is_answer.then(|| head.get(9..12)).flatten();
    if matches!(status, Some(b"204" | b"304")) {
        return Ok(Vec::new());
    }
    if value(head, "transfer-encoding").is_some() {
        return chunks(from);
    }
    let length = value(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(body)
}

/// As they came, their lengths among them.
fn chunks(from: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let start = body.len();
        from.read_until(b'\n', &mut body)?;
        let line = String::from_utf8_lossy(&body[start..]).trim().to_owned();
        let length = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
        let length = length.map_err(|_| ErrorKind::InvalidData)?;
        let start = body.len();
        body.resize(start + length + 2, 0);
        from.read_exact(&mut body[start..])?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// A header's value.
fn value(head: &[u8], name: &str) -> Option<String> {
    let head = String::from_utf8_lossy(head).into_owned();
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The head without a header.
fn without(head: &[u8], name: &str) -> Vec<u8> {
    let lines = head.split_inclusive(|&byte| byte == b'\n');
    let is_it = |line: &&[u8]| {
        line.get(..name.len()).is_some_and(|key| key.eq_ignore_ascii_case(name.as_bytes()))
            && line.get(name.len()) == Some(&b':')
    };
    lines.filter(|line| !is_it(line)).flatten().copied().collect()
}
