//! What a failed call still tells: the status, and attributes where the RFC has them.

use bytes::Bytes;
use vocab::Attr;

use super::{Status, attr::Wcc};
use crate::wire::xdr::{Encode, Writer};

/// A failed result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) status: Status,
    pub(crate) tells: Tells,
}

/// The `resfail` of a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    /// GETATTR.
    Nothing,
    /// What reads: the object's, or the directory's, attributes.
    Attr(Option<Attr>),
    /// What changes one object or directory.
    Wcc(Wcc),
    /// RENAME: both directories.
    TwoWcc(Wcc, Wcc),
    /// LINK: the file and the directory.
    AttrWcc(Option<Attr>, Wcc),
}

impl Encode for Failed {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(self.status.number());
        match &self.tells {
            Tells::Nothing => {}
            Tells::Attr(attr) => attr.encode(writer),
            Tells::Wcc(wcc) => wcc.encode(writer),
            Tells::TwoWcc(from, to) => {
                from.encode(writer);
                to.encode(writer);
            }
            Tells::AttrWcc(attr, wcc) => {
                attr.encode(writer);
                wcc.encode(writer);
            }
        }
    }
}

/// A procedure's result: the status word, then one of the two.
impl<T: Encode> Encode for Result<T, Failed> {
    fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Ok(done) => {
                writer.u32(0);
                done.encode(writer);
            }
            Err(failed) => failed.encode(writer),
        }
    }

    fn take_tail(&mut self) -> Vec<Bytes> {
        self.as_mut().map_or(Vec::new(), Encode::take_tail)
    }
}
