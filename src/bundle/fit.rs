//! Whether a bundle fits into the one message that a Go node takes.

use super::{Bundle, BundleType};
use crate::base::{Now, Refusal, Result, Rng, Time, Timestamp};
use crate::formats::smsg::{LinkKey, seal_v1};
use crate::formats::tim::{sealed_bytes, tar};
use crate::message::{Deploy, Message, Payload};

/// The largest sealed message a Go node takes by default, bytes (mesh.md §3).
pub const FRAME_BYTES_GO: usize = 1 << 20;

/// The size of the sealed frame of a `deploy` with that much data, bytes: exact, for a time with all nine digits
/// (every zero at its end saves a byte).
pub fn deploy_frame_bytes(kind: &BundleType, name: &str, data_bytes: usize) -> usize {
    // Ids, hashes and times have fixed lengths, so any will do; base64 has nothing to escape.
    let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_800_000_000, 123_456_789) };
    let deploy = Deploy { kind: kind.clone(), data: Some(Vec::new()), checksum: "0".repeat(64), name: name.to_owned() };
    let id = "0".repeat(32);
    let text = Message::new(now, &mut Rng::from_number(0), &id, &id, &Payload::Deploy(deploy)).encode();
    let mut frame = Vec::new();
    // Sealing fails for an empty text only.
    let _ = seal_v1(&LinkKey::from_secret(&[0; 32]), [0; 24], 1_800_000_000, &text, &mut frame);
    frame.len().saturating_add(data_bytes.div_ceil(3).saturating_mul(4))
}

/// The size of a bundle with one miner of that size and path and a profile (0: none), bytes: exact.
pub fn miner_bundle_bytes(path: &str, miner_bytes: usize, profile_bytes: usize) -> usize {
    sealed_bytes(profile_bytes, tar::file_bytes(path, miner_bytes).saturating_add(tar::END_BYTES))
}

/// The largest miner, one file at `path`, that reaches a node taking frames of `frame_bytes_max`: 783,872 bytes at Go's
/// default. `None` when not even an empty one does.
pub fn miner_bytes_max(name: &str, path: &str, profile_bytes: usize, frame_bytes_max: usize) -> Option<usize> {
    let fits = |miner: usize| {
        let bundle = miner_bundle_bytes(path, miner, profile_bytes);
        deploy_frame_bytes(&BundleType::Miner, name, bundle) <= frame_bytes_max
    };
    // Frames only grow with the miner, so the largest lies where fitting ends.
    let (mut low, mut high) = (0, frame_bytes_max);
    if !fits(low) {
        return None;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    Some(low)
}

/// Says before anything is sent whether the bundle reaches a node that takes frames of `frame_bytes_max` bytes.
///
/// # Errors
/// [`Refusal::Limit`] with the size, the limit and what to do.
pub fn check_fits(bundle: &Bundle, frame_bytes_max: usize) -> Result<()> {
    let size = deploy_frame_bytes(&bundle.kind, &bundle.name, bundle.data.len());
    if size <= frame_bytes_max {
        return Ok(());
    }
    let most = match miner_bytes_max(&bundle.name, &bundle.name, 0, frame_bytes_max) {
        Some(most) if bundle.kind != BundleType::Profile => format!(" (a miner of {most} bytes)"),
        _ => String::new(),
    };
    Err(Refusal::Limit(format!(
        "the bundle {:?} makes a message of {size} bytes, and this node takes one of at most {frame_bytes_max}{most}: \
         make it smaller (strip the program, leave files out), or run RigMesh on the rig, which takes it in chunks",
        bundle.name
    ))
    .into())
}

#[cfg(test)]
mod tests {
    use super::super::{MinerFile, create_miner_bundle};
    use super::*;

    /// The frame as a link really makes it.
    fn real_frame(bundle: Bundle) -> usize {
        let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_795_227_036, 999_999_999) };
        let (mut rng, mut frame) = (Rng::from_number(7), Vec::new());
        let (from, to) = ("8741bb4874cb9bd3cc485abad52053dc", "a5b261f84fa392c36b101b02cb34bf72");
        let text = Message::new(now, &mut rng, from, to, &Payload::Deploy(bundle.into_deploy())).encode();
        seal_v1(&LinkKey::from_secret(&[7; 32]), rng.array(), 1_795_227_036, &text, &mut frame).unwrap();
        frame.len()
    }

    fn bundle(path: &str, miner_bytes: usize, name: &str) -> Bundle {
        let data = vec![7; miner_bytes];
        let files = [MinerFile { path, executable: true, data: &data }];
        create_miner_bundle(&files, None, None, name, "pw", &mut Rng::from_number(1)).unwrap()
    }

    #[test]
    fn sizes_foretold_are_the_sizes_made() {
        for (path, bytes, name) in [("xmrig", 0, "xmrig"), ("bin/x", 1000, "a.b-c_d"), (&"n".repeat(160), 70_000, "x")]
        {
            let bundle = bundle(path, bytes, name);
            assert_eq!(bundle.data.len(), miner_bundle_bytes(path, bytes, 0));
            let foretold = deploy_frame_bytes(&bundle.kind, name, bundle.data.len());
            assert_eq!(real_frame(bundle), foretold, "{path}");
        }
    }

    #[test]
    fn the_largest_miner_for_a_go_node_is_783872_bytes() {
        assert_eq!(miner_bytes_max("xmrig", "xmrig", 0, FRAME_BYTES_GO), Some(783_872));
        let (most, more) = (bundle("xmrig", 783_872, "xmrig"), bundle("xmrig", 783_873, "xmrig"));
        check_fits(&most, FRAME_BYTES_GO).unwrap();
        let error = check_fits(&more, FRAME_BYTES_GO).unwrap_err().to_string();
        for word in ["1048576", "783872", "run RigMesh on the rig"] {
            assert!(error.contains(word), "{error}");
        }
        assert!(real_frame(most) <= FRAME_BYTES_GO && real_frame(more) > FRAME_BYTES_GO);
        assert_eq!(miner_bytes_max("xmrig", "xmrig", 0, 1000), None);
    }
}
