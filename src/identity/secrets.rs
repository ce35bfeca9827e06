//! The secrets shared with peers of late. A secret of two static keys never changes, so a peer that comes back costs no
//! curve work again; when a farm comes back all at once, that is half of what a 1.0 handshake costs.

use super::{PublicKey, SecretKey, SharedSecret};
use crate::base::Result;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// So many secrets are kept; the oldest makes room. About 130 bytes each.
const KEPT_MAX: usize = 512;

/// Secrets of one private key. They are no better kept than that key itself, and wiped like it.
#[derive(Debug, Default)]
pub(super) struct SharedSecrets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    secrets: BTreeMap<PublicKey, SharedSecret>,
    order: VecDeque<PublicKey>,
}

impl SharedSecrets {
    /// The secret shared with the owner of `peer`. No lock is held during the curve work.
    pub(super) fn get(&self, own: &SecretKey, peer: &PublicKey) -> Result<SharedSecret> {
        if let Some(secret) = self.0.lock().secrets.get(peer) {
            return Ok(secret.clone());
        }
        let secret = own.shared_secret(peer)?;
        let mut kept = self.0.lock();
        if kept.secrets.insert(*peer, secret.clone()).is_none() {
            kept.order.push_back(*peer);
        }
        if kept.order.len() > KEPT_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.secrets.remove(&oldest);
        }
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn a_secret_is_the_same_when_it_was_kept_and_old_ones_make_room() {
        let mut rng = Rng::from_number(1);
        let own = SecretKey::generate(&mut rng);
        let kept = SharedSecrets::default();
        let peers: Vec<PublicKey> = (0..KEPT_MAX + 2).map(|_| SecretKey::generate(&mut rng).public_key()).collect();
        for peer in peers.iter().chain(&peers) {
            assert_eq!(kept.get(&own, peer).unwrap(), own.shared_secret(peer).unwrap());
        }
        let kept = kept.0.into_inner();
        assert_eq!((kept.secrets.len(), kept.order.len()), (KEPT_MAX, KEPT_MAX));
        assert!(kept.order.iter().all(|peer| kept.secrets.contains_key(peer)));
    }
}
