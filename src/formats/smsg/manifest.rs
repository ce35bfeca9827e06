//! The manifest of an SMSG file (smsg.md §5): what is in it, for people, in clear and unauthenticated.

use super::message::is_zero;
use crate::base::Timestamp;
use crate::formats::reading::go_record;
use serde::Serialize;
use std::collections::BTreeMap;

/// Public words about a sealed file. Anybody can change them; no opener looks at the expiry.
///
/// Keys are written in this order, empty ones not. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Manifest {
    /// Title.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub artist: String,
    /// What it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub album: String,
    /// Its kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub genre: String,
    /// Year.
    #[serde(skip_serializing_if = "is_zero")]
    pub year: i64,
    /// Such as `single`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub release_type: String,
    /// Length in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub duration: i64,
    /// Form of the content.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// When the licence ends; 0: never.
    #[serde(skip_serializing_if = "is_zero")]
    pub expires_at: i64,
    /// When it was issued; 0: not stated.
    #[serde(skip_serializing_if = "is_zero")]
    pub issued_at: i64,
    /// `perpetual`, `rental`, `stream` or `preview`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub license_type: String,
    /// Parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tracks: Vec<Track>,
    /// Addresses by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Anything else.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

/// A part of what a [`Manifest`] describes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Track {
    /// Title.
    pub title: String,
    /// Where it begins, seconds.
    pub start: f64,
    /// Where it ends, seconds; 0: not stated.
    #[serde(skip_serializing_if = "is_nothing")]
    pub end: f64,
    /// Its kind.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its place, from 1; 0: not stated.
    #[serde(skip_serializing_if = "is_zero")]
    pub track_num: i64,
}

fn is_nothing(x: &f64) -> bool {
    *x == 0.0
}

go_record!(Manifest {
    "title" => title,
    "artist" => artist,
    "album" => album,
    "genre" => genre,
    "year" => year,
    "release_type" => release_type,
    "duration" => duration,
    "format" => format,
    "expires_at" => expires_at,
    "issued_at" => issued_at,
    "license_type" => license_type,
    "tracks" => tracks,
    "links" => links,
    "tags" => tags,
    "extra" => extra,
});
go_record!(Track {
    "title" => title,
    "start" => start,
    "end" => end,
    "type" => kind,
    "track_num" => track_num,
});

const PERPETUAL: &str = "perpetual";

impl Manifest {
    /// A manifest with a title and a licence without end.
    pub fn new(title: &str) -> Manifest {
        Manifest { title: title.to_owned(), license_type: PERPETUAL.to_owned(), ..Manifest::default() }
    }

    /// The licence ends at this Unix second; a perpetual one becomes a rental.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: i64) -> Manifest {
        self.expires_at = expires_at;
        if self.license_type == PERPETUAL {
            "rental".clone_into(&mut self.license_type);
        }
        self
    }

    /// A rental for so many seconds from when it was issued, which is now unless it was said.
    #[must_use]
    pub fn with_rental(mut self, seconds: i64, now: Timestamp) -> Manifest {
        if self.issued_at == 0 {
            self.issued_at = now.unix_seconds();
        }
        self.expires_at = self.issued_at.saturating_add(seconds);
        "rental".clone_into(&mut self.license_type);
        self
    }

    /// To be streamed for so many hours from now.
    #[must_use]
    pub fn with_streaming(self, hours: i64, now: Timestamp) -> Manifest {
        self.licensed("stream", hours.saturating_mul(3600), now)
    }

    /// To be looked at for so many seconds from now.
    #[must_use]
    pub fn with_preview(self, seconds: i64, now: Timestamp) -> Manifest {
        self.licensed("preview", seconds, now)
    }

    fn licensed(mut self, license: &str, seconds: i64, now: Timestamp) -> Manifest {
        self.issued_at = now.unix_seconds();
        self.expires_at = self.issued_at.saturating_add(seconds);
        license.clone_into(&mut self.license_type);
        self
    }

    /// The same with one more part, numbered by its place.
    #[must_use]
    pub fn with_track(mut self, title: &str, start: f64, end: f64, kind: &str) -> Manifest {
        let track_num = i64::try_from(self.tracks.len()).unwrap_or(i64::MAX).saturating_add(1);
        self.tracks.push(Track { title: title.to_owned(), start, end, kind: kind.to_owned(), track_num });
        self
    }

    /// Whether the stated end has passed.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at != 0 && now.unix_seconds() > self.expires_at
    }

    /// Seconds until the stated end, negative when it has passed; 0 when none is stated.
    pub fn seconds_remaining(&self, now: Timestamp) -> i64 {
        match self.expires_at {
            0 => 0,
            end => end.saturating_sub(now.unix_seconds()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_end_as_they_say() {
        let now = Timestamp::from_unix(1000, 0);
        let endless = Manifest::new("t");
        assert!(!endless.is_expired(now) && endless.seconds_remaining(now) == 0);
        let until = endless.clone().with_expiry(999);
        assert_eq!((until.is_expired(now), until.seconds_remaining(now), &*until.license_type), (true, -1, "rental"));
        let rental = Manifest { issued_at: 5, ..endless.clone() }.with_rental(100, now);
        assert_eq!((rental.issued_at, rental.expires_at), (5, 105));
        assert_eq!(endless.clone().with_rental(100, now).expires_at, 1100);
        let stream = rental.with_streaming(2, now).with_expiry(50);
        assert_eq!((stream.issued_at, &*stream.license_type), (1000, "stream"));
        assert_eq!(endless.clone().with_streaming(i64::MAX, now).expires_at, i64::MAX);
        let preview = endless.with_preview(30, now);
        assert_eq!((preview.expires_at, &*preview.license_type), (1030, "preview"));
        assert!(!preview.is_expired(Timestamp::from_unix(1030, 0)));
    }

    #[test]
    fn parts_are_numbered_by_their_place() {
        let manifest = Manifest::new("t").with_track("a", 0.0, 0.0, "").with_track("b", 30.5, 95.25, "drop");
        let text = crate::formats::gojson::to_string_html(&manifest).unwrap();
        let tracks = r#"[{"title":"a","start":0,"track_num":1},{"title":"b","start":30.5,"end":95.25,"type":"drop","track_num":2}]"#;
        assert_eq!(text, format!(r#"{{"title":"t","license_type":"perpetual","tracks":{tracks}}}"#));
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }
}
