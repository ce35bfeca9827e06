//! Publishing, and the node's own store.

use super::{Node, put_error, unexpected};
use crate::base::{Error, Result};
use crate::identity::Address;
use crate::kad::{Category, Done, Id, SignedRecord, Source};
use std::time::Duration;

impl Node {
    /// Keeps a record at the id of its address and has copies made near it; returns when it is kept here. Its type is not
    /// looked at: records of one's own kind go this way, too.
    ///
    /// # Errors
    /// Why it is not kept: [`Error::Malformed`] when it is not valid, [`Error::Rejected`] when it is stale or over.
    pub fn publish_endpoint_record(&self, record: SignedRecord) -> Result<()> {
        self.publish(Id::ZERO, record)
    }

    /// Keeps a topic record at `key`, the id of its topic ([`Id::of_topic`]), and has copies made near it.
    ///
    /// # Errors
    /// [`Error::Config`] for a record of another category, else as [`Node::publish_endpoint_record`].
    pub fn publish_topic_record(&self, key: Id, record: SignedRecord) -> Result<()> {
        match record.category() {
            Category::Topic => self.publish(key, record),
            _ => Err(Error::Config("dht: not a topic record".to_owned())),
        }
    }

    /// Keeps a mailbox record at `key`, the recipient's id, and has copies made near it.
    ///
    /// # Errors
    /// [`Error::Config`] for a record of another category, else as [`Node::publish_endpoint_record`].
    pub fn publish_mailbox_record(&self, key: Id, record: SignedRecord) -> Result<()> {
        match record.category() {
            Category::Mailbox => self.publish(key, record),
            _ => Err(Error::Config("dht: not a mailbox record".to_owned())),
        }
    }

    fn publish(&self, key: Id, record: SignedRecord) -> Result<()> {
        self.handle().ask(move |machine, now| machine.publish(now, None, key, record))?.map_err(put_error)
    }

    /// Publishes a record of any category at `key` (the zero key stands for its own), and waits for its copies. How many
    /// nodes have it now, this one not counted.
    ///
    /// # Errors
    /// As [`Node::publish_endpoint_record`]; [`Error::TimedOut`] when the copies take longer; they are still made.
    pub fn publish_and_wait(&self, key: Id, record: SignedRecord, within: Duration) -> Result<usize> {
        let done = self.handle().order(within, move |machine, now, order| {
            machine.publish(now, Some(order), key, record).map_err(put_error)
        })?;
        match done {
            Done::Published(copies) => Ok(copies),
            _ => Err(unexpected()),
        }
    }

    /// Copies of a published record that count, if this node looks after it.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn copies(&self, key: Id, record: SignedRecord) -> Result<Option<usize>> {
        self.handle().ask(move |machine, _| machine.copies(&key, &record))
    }

    /// Looks after a publisher's records no longer; the copies stay where they are.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn forget_publisher(&self, publisher: Id) -> Result<()> {
        self.handle().ask(move |machine, _| machine.forget_publisher(&publisher))
    }

    /// Valid records held here at a key; of one type, or of all for 0.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn local_store_get(&self, key: Id, rec_type: u8) -> Result<Vec<SignedRecord>> {
        self.handle().ask(move |machine, now| {
            let records = machine.store_mut().get_all(now, &key, rec_type);
            records.into_iter().cloned().collect()
        })
    }

    /// Valid records held here of an address; of one type, or of all for 0. Looks at every record.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn local_store_get_by_address(&self, address: Address, rec_type: u8) -> Result<Vec<SignedRecord>> {
        self.handle().ask(move |machine, now| {
            let records = machine.store_mut().get_all_by_address(now, &address, rec_type);
            records.into_iter().cloned().collect()
        })
    }

    /// Keeps a record here and nowhere else; the zero key stands for its own.
    ///
    /// # Errors
    /// As [`Node::publish_endpoint_record`].
    pub fn local_store_put(&self, key: Id, record: SignedRecord) -> Result<()> {
        let put =
            move |machine: &mut crate::kad::Machine, now| machine.store_mut().put(now, Some(key), record, Source::Own);
        self.handle().ask(put)?.map_err(put_error)
    }

    /// Drops what is held here at a key; of one type, or all for 0.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn local_store_invalidate(&self, key: Id, rec_type: u8) -> Result<()> {
        self.handle().ask(move |machine, _| machine.store_mut().invalidate(&key, rec_type))
    }

    /// Keys at which records are held here.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn local_store_len(&self) -> Result<usize> {
        self.handle().ask(|machine, _| machine.store().len())
    }
}
