//! Time as it is handed to the machines: a monotonic [`Time`] for timers and a wall-clock
//! [`Timestamp`] for what is written down. Nothing here reads a clock.

use std::fmt;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Monotonic time: microseconds since the node (or the simulation) started. Kept one higher, so that `Option<Time>`, of
/// which the DHT keeps several for each peer, takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZeroU64);

const _: () = assert!(size_of::<Option<Time>>() == size_of::<Time>());

impl Time {
    /// The moment the clock started.
    pub const ZERO: Time = Time(NonZeroU64::MIN);

    /// From microseconds since the start.
    pub const fn from_micros(micros: u64) -> Time {
        Time(NonZeroU64::MIN.saturating_add(micros))
    }

    /// From milliseconds since the start.
    pub const fn from_millis(millis: u64) -> Time {
        Time::from_micros(millis.saturating_mul(1000))
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0.get() - 1
    }

    /// How long after `earlier` this is; zero when it is before it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Time {
    fn default() -> Time {
        Time::ZERO
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Time").field(&self.as_micros()).finish()
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

/// Both clocks at one moment: `mono` for timers, `wall` for timestamps and expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub mono: Time,
    /// Wall-clock time.
    pub wall: Timestamp,
}

impl Now {
    /// The moment `d` later on both clocks.
    #[must_use]
    pub fn after(self, d: Duration) -> Now {
        Now { mono: self.mono + d, wall: self.wall.plus(d) }
    }
}

/// A wall-clock moment with the numeric offset it was written with, as RFC 3339 and Go's
/// `RFC3339Nano` know it: years 1 to 9999, nanoseconds, offset in whole minutes.
///
/// Order and equality of moments: compare [`Timestamp::unix_nanos`]. `==` also compares offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
    offset_minutes: i16,
}

/// A text that is not a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampError;

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an RFC 3339 time")
    }
}

impl std::error::Error for TimestampError {}

/// Unix seconds of 0001-01-01T00:00:00Z, Go's zero time.
const YEAR_ONE: i64 = -62_135_596_800;
/// The same moment as a calendar date. (Not `jiff::Timestamp`: that ends a day before year 9999 does.)
const YEAR_ONE_CIVIL: jiff::civil::DateTime = jiff::civil::DateTime::constant(1, 1, 1, 0, 0, 0, 0);
/// Unix seconds of 9999-12-31T23:59:59Z.
const YEAR_LAST: i64 = 253_402_300_799;

impl Timestamp {
    /// Go's zero time, `0001-01-01T00:00:00Z`: "never".
    pub const ZERO: Timestamp = Timestamp { seconds: YEAR_ONE, nanos: 0, offset_minutes: 0 };

    /// From Unix seconds and nanoseconds, UTC. Clamped to the years 1 to 9999.
    pub fn from_unix(seconds: i64, nanos: u32) -> Timestamp {
        Timestamp { seconds: seconds.clamp(YEAR_ONE, YEAR_LAST), nanos: nanos.min(999_999_999), offset_minutes: 0 }
    }

    /// From Unix milliseconds, UTC.
    pub fn from_unix_millis(millis: i64) -> Timestamp {
        let nanos = u32::try_from(millis.rem_euclid(1000)).unwrap_or(0).saturating_mul(1_000_000);
        Timestamp::from_unix(millis.div_euclid(1000), nanos)
    }

    /// The same moment, written with another offset (minutes east of UTC, within ±1439).
    #[must_use]
    pub fn with_offset(self, offset_minutes: i16) -> Timestamp {
        Timestamp { offset_minutes: offset_minutes.clamp(-1439, 1439), ..self }
    }

    /// Whole Unix seconds.
    pub fn unix_seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second.
    pub fn subsec_nanos(self) -> u32 {
        self.nanos
    }

    /// Unix milliseconds, rounded down.
    pub fn unix_millis(self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanos / 1_000_000))
    }

    /// Unix nanoseconds: the value to compare moments by.
    pub fn unix_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// Whether this is [`Timestamp::ZERO`].
    pub fn is_zero(self) -> bool {
        self.seconds == YEAR_ONE && self.nanos == 0
    }

    /// The moment `d` later.
    #[must_use]
    pub fn plus(self, d: Duration) -> Timestamp {
        let nanos = self.nanos + d.subsec_nanos();
        let carry = i64::from(nanos / 1_000_000_000);
        let seconds = self.seconds.saturating_add(i64::try_from(d.as_secs()).unwrap_or(i64::MAX)).saturating_add(carry);
        Timestamp { seconds: seconds.clamp(YEAR_ONE, YEAR_LAST), nanos: nanos % 1_000_000_000, ..self }
    }

    /// The moment `d` earlier.
    #[must_use]
    pub fn minus(self, d: Duration) -> Timestamp {
        let borrow = u32::from(self.nanos < d.subsec_nanos());
        let nanos = self.nanos + borrow * 1_000_000_000 - d.subsec_nanos();
        let seconds = self
            .seconds
            .saturating_sub(i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
            .saturating_sub(i64::from(borrow));
        Timestamp { seconds: seconds.clamp(YEAR_ONE, YEAR_LAST), nanos, ..self }
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let nanos = (self.unix_nanos() - earlier.unix_nanos()).max(0);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or(0))
    }

    /// Reads RFC 3339 as Go does: `,` or `.` before the fraction, any number of fraction digits
    /// (kept to nanoseconds), one- or two-digit hour, upper-case `T` and `Z`. Offsets up to ±23:59.
    pub fn parse(text: &str) -> Result<Timestamp, TimestampError> {
        let mut s = Scan(text.as_bytes());
        let year = s.digits(4)?;
        s.byte(b'-')?;
        let month = s.digits(2)?;
        s.byte(b'-')?;
        let day = s.digits(2)?;
        s.byte(b'T')?;
        let hour = match s.0 {
            [_, b':', ..] => s.digits(1)?,
            _ => s.digits(2)?,
        };
        s.byte(b':')?;
        let minute = s.digits(2)?;
        s.byte(b':')?;
        let second = s.digits(2)?;
        let nanos = s.fraction()?;
        let offset_minutes = s.offset()?;
        let small = |n: u32| i8::try_from(n).map_err(|_| TimestampError);
        let civil = jiff::civil::DateTime::new(
            i16::try_from(year).map_err(|_| TimestampError)?,
            small(month)?,
            small(day)?,
            small(hour)?,
            small(minute)?,
            small(second)?,
            0,
        )
        .map_err(|_| TimestampError)?;
        let local = civil.duration_since(YEAR_ONE_CIVIL).as_secs() + YEAR_ONE;
        let seconds = local - i64::from(offset_minutes) * 60;
        if !(YEAR_ONE..=YEAR_LAST).contains(&seconds) {
            return Err(TimestampError);
        }
        Ok(Timestamp { seconds, nanos, offset_minutes })
    }
}

/// What is left of a text being read.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn digits(&mut self, count: usize) -> Result<u32, TimestampError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(TimestampError)?;
        self.0 = rest;
        head.iter()
            .try_fold(0, |n, c| if c.is_ascii_digit() { Ok(n * 10 + u32::from(c - b'0')) } else { Err(TimestampError) })
    }

    fn byte(&mut self, want: u8) -> Result<(), TimestampError> {
        match self.0 {
            [c, rest @ ..] if *c == want => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(TimestampError),
        }
    }

    fn fraction(&mut self) -> Result<u32, TimestampError> {
        let [b'.' | b',', rest @ ..] = self.0 else { return Ok(0) };
        let count = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at(count);
        self.0 = rest;
        if digits.is_empty() {
            return Err(TimestampError);
        }
        Ok((0..9).fold(0, |n, i| n * 10 + digits.get(i).map_or(0, |c| u32::from(c - b'0'))))
    }

    fn offset(&mut self) -> Result<i16, TimestampError> {
        if self.0 == b"Z" {
            return Ok(0);
        }
        let sign = match self.0 {
            [b'+', rest @ ..] => {
                self.0 = rest;
                1
            }
            [b'-', rest @ ..] => {
                self.0 = rest;
                -1
            }
            _ => return Err(TimestampError),
        };
        let hours = self.digits(2)?;
        self.byte(b':')?;
        let minutes = self.digits(2)?;
        if hours > 23 || minutes > 59 || !self.0.is_empty() {
            return Err(TimestampError);
        }
        Ok(sign * i16::try_from(hours * 60 + minutes).map_err(|_| TimestampError)?)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (self.seconds + i64::from(self.offset_minutes) * 60).clamp(YEAR_ONE, YEAR_LAST);
        let (days, second) = ((shown - YEAR_ONE) / 86_400, (shown - YEAR_ONE) % 86_400);
        let c = YEAR_ONE_CIVIL.date().checked_add(jiff::Span::new().days(days)).map_err(|_| fmt::Error)?;
        // Every message has a time: its text is put together by hand, at a tenth of what the formatting machinery takes.
        let mut text = [0; TEXT_BYTES_MAX];
        let mut rest = text.as_mut_slice();
        let mut put = |piece: &[u8]| rest.write_all(piece).map_err(|_| fmt::Error);
        put(&digits::<4>(c.year().into()))?;
        let (month, day) = (c.month().into(), c.day().into());
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        for (mark, value) in [(b"-", month), (b"-", day), (b"T", hour), (b":", minute), (b":", second)] {
            put(mark)?;
            put(&digits::<2>(value))?;
        }
        if self.nanos > 0 {
            put(b".")?;
            let nanos = digits::<9>(self.nanos.into());
            let kept = nanos.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
            put(nanos.get(..kept).unwrap_or_default())?;
        }
        match self.offset_minutes {
            0 => put(b"Z")?,
            minutes => {
                put(if minutes < 0 { b"-" } else { b"+" })?;
                put(&digits::<2>((minutes.abs() / 60).into()))?;
                put(b":")?;
                put(&digits::<2>((minutes.abs() % 60).into()))?;
            }
        }
        let unused = rest.len();
        let text = text.get(..TEXT_BYTES_MAX - unused).unwrap_or_default();
        f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

/// The longest text of a time: `9999-12-31T23:59:59.999999999+23:59`.
const TEXT_BYTES_MAX: usize = 35;

/// The last `N` decimal digits of a number that is not negative.
fn digits<const N: usize>(mut value: i64) -> [u8; N] {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit += u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
    text
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Timestamp::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_it_was_read() {
        for text in [
            "2026-03-31T15:39:28.123456789+01:00",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "2026-01-02T03:04:07.25-05:00",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Timestamp::parse("0001-01-01T00:00:00Z").unwrap(), Timestamp::ZERO);
    }

    #[test]
    fn gos_spellings_are_read_and_normalised() {
        let check = |text, want: &str| assert_eq!(Timestamp::parse(text).unwrap().to_string(), want);
        check("2026-01-02T3:04:05,678Z", "2026-01-02T03:04:05.678Z");
        check("2026-01-02T03:04:05.123456789123Z", "2026-01-02T03:04:05.123456789Z");
        check("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T24:04:05Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05Zx",
        ] {
            assert_eq!(Timestamp::parse(text), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn adding_and_taking_away_are_inverse() {
        let t = Timestamp::from_unix(1_700_000_000, 900_000_000);
        let d = Duration::from_millis(2_300);
        assert_eq!(t.plus(d).minus(d), t);
        assert_eq!(t.plus(d).since(t), d);
    }
}
