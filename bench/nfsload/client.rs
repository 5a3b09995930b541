//! One call at a time, for what surrounds a run: mounting, making directories, reading back.

use std::{
    io::{self, Read, Write as _},
    net::TcpStream,
};

use crate::{
    nfs3::{self, Fault, Handle, procedure},
    rpc,
    xdr::{Reader, Write},
};

pub(crate) struct Client {
    stream: TcpStream,
    xid: u32,
}

/// A fault of the server or of the connection to it.
#[derive(Debug)]
pub(crate) enum Error {
    Connection(io::Error),
    Fault(&'static str, Fault),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connection(error) => write!(f, "connection: {error}"),
            Self::Fault(call, fault) => write!(f, "{call}: {fault:?}"),
        }
    }
}

impl Client {
    pub(crate) fn connect(server: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, xid: 0 })
    }

    fn call<T>(
        &mut self,
        program: (u32, u32),
        (number, name): (u32, &'static str),
        arguments: impl FnOnce(&mut Vec<u8>),
        result: impl FnOnce(&mut Reader<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        self.xid += 1;
        let mut out = Vec::new();
        rpc::call(&mut out, self.xid, program, number, arguments);
        self.stream.write_all(&out)?;
        let (mut bytes, mut joined, mut chunk) = (Vec::new(), Vec::new(), vec![0; 64 * 1024]);
        let record = loop {
            if let Some((record, _)) = rpc::record(&bytes, &mut joined) {
                break record.to_vec();
            }
            let len = self.stream.read(&mut chunk)?;
            if len == 0 {
                return Err(io::Error::other("the server closed the connection").into());
            }
            bytes.extend_from_slice(&chunk[..len]);
        };
        let mut reply = Reader::new(&record);
        let fault = |fault| Error::Fault(name, fault);
        let (_, is_done) = rpc::reply_head(&mut reply).map_err(|_| fault(Fault::Garbled))?;
        if !is_done {
            return Err(fault(Fault::Rpc));
        }
        result(&mut reply).map_err(fault)
    }

    /// MNT of version 3.
    pub(crate) fn mount(&mut self, export: &str) -> Result<Handle, Error> {
        let arguments = |out: &mut Vec<u8>| out.opaque(export.as_bytes());
        self.call(rpc::MOUNT, (1, "MNT"), arguments, |reply| {
            nfs3::status(reply)?;
            Ok(reply.opaque()?.into())
        })
    }

    pub(crate) fn mkdir(&mut self, dir: &[u8], name: &str) -> Result<Handle, Error> {
        let arguments = |out: &mut Vec<u8>| nfs3::mkdir(out, dir, name);
        self.call(rpc::NFS, (procedure::MKDIR, "MKDIR"), arguments, nfs3::created)
    }

    pub(crate) fn create(&mut self, dir: &[u8], name: &str) -> Result<Handle, Error> {
        let arguments = |out: &mut Vec<u8>| nfs3::create(out, dir, name);
        self.call(rpc::NFS, (procedure::CREATE, "CREATE"), arguments, nfs3::created)
    }

    pub(crate) fn commit(&mut self, file: &[u8]) -> Result<u64, Error> {
        let arguments = |out: &mut Vec<u8>| nfs3::commit(out, file);
        self.call(rpc::NFS, (procedure::COMMIT, "COMMIT"), arguments, nfs3::committed)
    }

    pub(crate) fn read(&mut self, file: &[u8], offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        let arguments = |out: &mut Vec<u8>| nfs3::read(out, file, offset, len);
        self.call(rpc::NFS, (procedure::READ, "READ"), arguments, |reply| {
            nfs3::was_read(reply, len).map(<[u8]>::to_vec)
        })
    }
}
