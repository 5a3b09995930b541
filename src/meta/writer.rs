//! The single writer: takes what waits as one batch, commits and syncs once, publishes, answers.
//!
//! Invariants: nothing is answered before it is durable and visible. After a failed commit or sync
//! the store takes no more commands: what the disk holds is not known, and trying again proves
//! nothing.

use crossbeam::channel::Receiver;
use reactor::oneshot;
use vocab::{Attr, Error, FileKind};

use crate::{
    command::{Command, Outcome},
    core::{Core, own},
    engine::{Batch, Space},
    key, machine,
    record::{Inode, NameEntry},
    tx::{Tx, io},
};

/// Most commands in a batch.
const BATCH_MAX: usize = 512;

/// What became of a command.
pub(crate) type Answer = Result<Outcome, Error>;

/// What the writer is sent.
#[expect(clippy::large_enum_variant, reason = "all but one are the large variant")]
pub(crate) enum Message {
    Submit(Command, oneshot::Sender<Answer>),
    /// Finish what waits, then end.
    Stop,
}

/// The writer's own state.
pub(crate) struct Writer<'a> {
    core: &'a Core,
    is_failed: bool,
}

/// The writer's thread.
pub(crate) fn run(core: &Core, messages: &Receiver<Message>) {
    let mut writer = Writer::new(core);
    let mut is_stopping = false;
    while !is_stopping {
        let Ok(first) = messages.recv() else { return };
        let mut next = Some(first);
        // Once told to stop, everything that was sent before still counts.
        while let Some(message) = next.take() {
            let (commands, answers, stop) = gather(message, messages);
            is_stopping |= stop;
            for (answer, to) in writer.apply(&commands).into_iter().zip(answers) {
                to.send(answer);
            }
            if is_stopping {
                next = messages.try_recv().ok();
            }
        }
    }
}

fn gather(
    first: Message,
    messages: &Receiver<Message>,
) -> (Vec<Command>, Vec<oneshot::Sender<Answer>>, bool) {
    let mut stop = false;
    let (mut commands, mut answers) = (Vec::new(), Vec::new());
    for message in std::iter::once(first).chain(messages.try_iter()) {
        match message {
            Message::Submit(command, answer) => {
                commands.push(command);
                answers.push(answer);
            }
            Message::Stop => stop = true,
        }
        if stop || commands.len() == BATCH_MAX {
            break;
        }
    }
    (commands, answers, stop)
}

impl<'a> Writer<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core, is_failed: false }
    }

    /// Applies commands as one batch.
    pub(crate) fn apply(&mut self, commands: &[Command]) -> Vec<Answer> {
        if self.is_failed {
            return commands.iter().map(|_| Err(Error::Io)).collect();
        }
        let view = self.core.engine.view();
        let mut tx = Tx::new(&*view);
        let mut answers: Vec<Answer> =
            commands.iter().map(|command| machine::apply(&mut tx, command)).collect();
        let batch = tx.into_batch();
        drop(view);
        if batch.is_empty() {
            return answers;
        }
        let engine = &self.core.engine;
        if let Err(fault) = engine.commit(&batch).and_then(|()| engine.sync()) {
            io(fault);
            trace::error!(
                "the metadata store `{}` is read-only from here on: its last changes may not be on \
                 the disk; check the disk and restart",
                self.core.name
            );
            self.is_failed = true;
            return commands.iter().map(|_| Err(Error::Io)).collect();
        }
        self.publish(&batch);
        for outcome in answers.iter_mut().flatten() {
            self.refresh(outcome);
        }
        answers
    }

    /// Shows a durable batch to the readers.
    fn publish(&self, batch: &Batch) {
        for (key, value) in batch.changes(Space::Inodes) {
            let inode: Option<Inode> = value.as_deref().map(own);
            match inode.filter(|inode| inode.stored.nlink > 0) {
                Some(inode) => self.core.table.publish(&inode),
                None => {
                    let id = key::inode_of(key).expect("a key that was just composed");
                    self.core.table.publish_gone(id);
                }
            }
        }
        for (key, value) in batch.changes(Space::Names) {
            let entry: Option<NameEntry> = value.as_deref().map(own);
            self.core.names.publish(key, entry.map(|entry| entry.inode));
        }
    }

    /// The engine may lag behind the log; a client must never be told of a shorter file.
    fn refresh(&self, outcome: &mut Outcome) {
        match outcome {
            Outcome::Created { attr, replayed: true, .. }
            | Outcome::Linked { attr, .. }
            | Outcome::Removed { attr, .. }
            | Outcome::Renamed { replaced: Some(attr), .. }
            | Outcome::Changed { attr, .. } => self.refresh_attr(attr),
            Outcome::Created { .. }
            | Outcome::Renamed { replaced: None, .. }
            | Outcome::Share(_)
            | Outcome::Done
            | Outcome::NeedPut
            | Outcome::Reaped { .. }
            | Outcome::Condemned(_)
            | Outcome::Deleting(_) => {}
        }
    }

    fn refresh_attr(&self, attr: &mut Attr) {
        if attr.kind != FileKind::Regular {
            return;
        }
        if let Some(Attr { size, used, mtime, ctime, change, .. }) =
            self.core.table.peek(attr.inode)
        {
            *attr = Attr { size, used, mtime, ctime, change, ..*attr };
        }
    }
}
