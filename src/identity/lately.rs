//! What curve work has shown of peers of late, so that a peer that comes back costs none of it again: when a farm comes
//! back all at once, that is half of what a handshake costs in protocol 1.0, and a tenth in a session.

use super::{PublicKey, SecretKey, SharedSecret, verify_bind};
use crate::base::Result;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Of so many peers it is kept; the oldest makes room. About 130 bytes each, for either kind.
const KEPT_MAX: usize = 512;

/// Secrets of one private key: a secret of two static keys never changes. They are no better kept than that key itself, and
/// wiped like it.
#[derive(Debug, Default)]
pub(super) struct SharedSecrets(Lately<SharedSecret>);

impl SharedSecrets {
    /// The secret shared with the owner of `peer`. No lock is held during the curve work.
    pub(super) fn get(&self, own: &SecretKey, peer: &PublicKey) -> Result<SharedSecret> {
        if let Some(secret) = self.0.get(peer) {
            return Ok(secret);
        }
        let secret = own.shared_secret(peer)?;
        self.0.put(*peer, secret.clone());
        Ok(secret)
    }
}

/// Signing keys and binds that held. Whether one holds depends on nothing but the three, so it holds again; whether the
/// sender has the key `x` is for the handshake to show, each time.
#[derive(Debug, Default)]
pub(crate) struct Binds(Lately<([u8; 32], [u8; 64])>);

impl Binds {
    /// As [`verify_bind`].
    pub(crate) fn verify(&self, x: &PublicKey, sign: &[u8; 32], bind: &[u8; 64]) -> bool {
        if self.0.get(x) == Some((*sign, *bind)) {
            return true;
        }
        let holds = verify_bind(x, sign, bind);
        if holds {
            self.0.put(*x, (*sign, *bind));
        }
        holds
    }
}

/// One thing for each of the last peers.
#[derive(Debug)]
struct Lately<V>(Mutex<Kept<V>>);

#[derive(Debug)]
struct Kept<V> {
    of: BTreeMap<PublicKey, V>,
    order: VecDeque<PublicKey>,
}

impl<V> Default for Lately<V> {
    fn default() -> Lately<V> {
        Lately(Mutex::new(Kept { of: BTreeMap::new(), order: VecDeque::new() }))
    }
}

impl<V: Clone> Lately<V> {
    fn get(&self, peer: &PublicKey) -> Option<V> {
        self.0.lock().of.get(peer).cloned()
    }

    fn put(&self, peer: PublicKey, value: V) {
        let mut kept = self.0.lock();
        if kept.of.insert(peer, value).is_none() {
            kept.order.push_back(peer);
        }
        if kept.order.len() > KEPT_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.of.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::identity::SignKey;

    #[test]
    fn a_secret_is_the_same_when_it_was_kept_and_old_ones_make_room() {
        let mut rng = Rng::from_number(1);
        let own = SecretKey::generate(&mut rng);
        let kept = SharedSecrets::default();
        let peers: Vec<PublicKey> = (0..KEPT_MAX + 2).map(|_| SecretKey::generate(&mut rng).public_key()).collect();
        for peer in peers.iter().chain(&peers) {
            assert_eq!(kept.get(&own, peer).unwrap(), own.shared_secret(peer).unwrap());
        }
        let kept = kept.0.0.into_inner();
        assert_eq!((kept.of.len(), kept.order.len()), (KEPT_MAX, KEPT_MAX));
        assert!(kept.order.iter().all(|peer| kept.of.contains_key(peer)));
    }

    #[test]
    fn a_bind_that_held_holds_again_and_no_other_does() {
        let mut rng = Rng::from_number(1);
        let (x, y) = (SecretKey::generate(&mut rng).public_key(), SecretKey::generate(&mut rng).public_key());
        let (sign, other) = (SignKey::generate(&mut rng), SignKey::generate(&mut rng));
        let (bind, kept) = (sign.bind_signature(&x), Binds::default());
        for _ in 0..2 {
            assert!(kept.verify(&x, &sign.public(), &bind));
            assert!(!kept.verify(&y, &sign.public(), &bind));
            assert!(!kept.verify(&x, &other.public(), &bind));
            assert!(!kept.verify(&x, &sign.public(), &other.bind_signature(&x)));
        }
        // A second signing key that agrees takes the first one's place, and both hold.
        assert!(kept.verify(&x, &other.public(), &other.bind_signature(&x)) && kept.verify(&x, &sign.public(), &bind));
        assert_eq!(kept.0.0.into_inner().order.len(), 1);
    }
}
