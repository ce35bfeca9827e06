//! Measuring a peer: the median of round trips, the distance on the globe, one composite score (selection.md §9).

use std::collections::VecDeque;

/// Round trips that [`measure`] asks for.
pub const MEASURE_ROUND_TRIPS: usize = 3;
/// Round trips whose median is a peer's `ping_ms`.
pub const PING_SAMPLES: usize = 5;

/// The last few values and their median.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    values: VecDeque<f64>,
    capacity: usize,
}

impl Samples {
    /// Room for the last `capacity` values (at least one).
    pub fn new(capacity: usize) -> Samples {
        Samples { values: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// Adds a value, the oldest leaves. Values that are not finite and not positive are ignored:
    /// 0 means unknown wherever pings are kept.
    pub fn push(&mut self, value: f64) {
        if value.is_finite() && value > 0.0 {
            if self.values.len() == self.capacity {
                self.values.pop_front();
            }
            self.values.push_back(value);
        }
    }

    /// The median of what is held; of an even number the mean of the middle two. `None` when empty.
    pub fn median(&self) -> Option<f64> {
        median(&mut self.values.iter().copied().collect::<Vec<_>>())
    }

    /// How many values are held.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// The median; of an even number the mean of the middle two. Sorts the slice.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get((values.len() / 2).checked_sub(1)?)?;
    Some(lower + (upper - lower) / 2.0)
}

/// What was found out about the way to a peer. `None` is unknown, and never counts as best.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measurement {
    /// Median round trip, ms.
    pub ping_ms: Option<f64>,
    /// Relay hops of the route used; 0 is direct.
    pub hops: Option<u32>,
    /// Great-circle distance, km.
    pub geo_km: Option<f64>,
    /// Round trips that timed out: failures for the peer's score.
    pub timeouts: u32,
}

/// Reduces round trips over the authenticated link (`None` timed out), the route and the
/// configured distance to one measurement.
pub fn measure(round_trips_ms: &[Option<f64>], hops: Option<u32>, geo_km: Option<f64>) -> Measurement {
    let mut samples = Samples::new(round_trips_ms.len());
    round_trips_ms.iter().flatten().for_each(|ms| samples.push(*ms));
    Measurement {
        ping_ms: samples.median(),
        hops,
        geo_km: geo_km.filter(|km| km.is_finite() && *km >= 0.0),
        timeouts: u32::try_from(round_trips_ms.iter().filter(|trip| trip.is_none()).count()).unwrap_or(u32::MAX),
    }
}

/// One number from 0 (worst) to 1 (best) for a report: `1 − (1.0·p + 0.7·h + 0.2·g + 1.2·(1−r)) / 3.1`
/// with p = ping/1000 ms, h = hops/20, g = km/20,000, each at most 1, and r = `reliability`/100
/// (a registry score, clamped to 0..100). Unknown axes are left out of both sums. Selection does not use it.
pub fn compute_score(measurement: &Measurement, reliability: f64) -> f64 {
    let known = |value: Option<f64>| value.filter(|v| v.is_finite() && *v >= 0.0);
    let reliability = if reliability.is_nan() { 0.0 } else { reliability.clamp(0.0, 100.0) };
    let axes = [
        (1.0, known(measurement.ping_ms).map(|ms| (ms / 1000.0).min(1.0))),
        (0.7, measurement.hops.map(|hops| (f64::from(hops) / 20.0).min(1.0))),
        (0.2, known(measurement.geo_km).map(|km| (km / 20_000.0).min(1.0))),
        (1.2, Some(1.0 - reliability / 100.0)),
    ];
    let (sum, weights) = axes
        .iter()
        .filter_map(|(weight, value)| Some((weight, (*value)?)))
        .fold((0.0, 0.0), |(sum, weights), (weight, value)| (sum + weight * value, weights + weight));
    (1.0 - sum / weights).clamp(0.0, 1.0)
}

/// Mean radius of the earth, km.
const EARTH_KM: f64 = 6371.0088;

/// Great-circle distance in km of two places given as (latitude, longitude) in degrees.
/// `None` when one is no place: not finite, latitude beyond ±90, longitude beyond ±180.
pub fn geo_km_between(a: (f64, f64), b: (f64, f64)) -> Option<f64> {
    let place = |(lat, lon): (f64, f64)| {
        (lat.abs() <= 90.0 && lon.abs() <= 180.0).then(|| (lat.to_radians(), lon.to_radians()))
    };
    let ((lat_a, lon_a), (lat_b, lon_b)) = (place(a)?, place(b)?);
    let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
    let h = half(lat_a, lat_b) + lat_a.cos() * lat_b.cos() * half(lon_a, lon_b);
    Some(2.0 * EARTH_KM * h.clamp(0.0, 1.0).sqrt().asin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_last_five_forgets_a_spike() {
        let mut samples = Samples::new(PING_SAMPLES);
        assert_eq!(samples.median(), None);
        for ms in [10.0, 900.0, 11.0, 12.0, f64::NAN, 0.0, 9.0] {
            samples.push(ms);
        }
        assert_eq!((samples.median(), samples.len()), (Some(11.0), 5));
        samples.push(13.0);
        samples.push(14.0);
        assert_eq!(samples.median(), Some(12.0));
    }

    #[test]
    fn a_timeout_is_a_failure_and_no_ping() {
        let m = measure(&[Some(20.0), None, Some(10.0)], Some(0), None);
        assert_eq!((m.ping_ms, m.timeouts, m.geo_km), (Some(15.0), 1, None));
        assert_eq!(measure(&[None, None, None], None, Some(f64::NAN)).ping_ms, None);
    }

    #[test]
    fn the_score_falls_with_every_axis_and_unknown_ones_do_not_count() {
        let best = Measurement { ping_ms: Some(0.0), hops: Some(0), geo_km: Some(0.0), timeouts: 0 };
        assert_eq!(compute_score(&best, 100.0), 1.0);
        let worst = Measurement { ping_ms: Some(5e9), hops: Some(99), geo_km: Some(1e9), timeouts: 0 };
        assert!(compute_score(&worst, 0.0).abs() < 1e-12);
        assert!(compute_score(&worst, 50.0) > compute_score(&worst, 49.0));
        let slower = |ms| compute_score(&Measurement { ping_ms: Some(ms), ..best }, 80.0);
        assert!(slower(10.0) > slower(11.0));
        // Only reliability is known: 1 − (1.2·0.5)/1.2.
        assert!((compute_score(&Measurement::default(), 50.0) - 0.5).abs() < 1e-12);
        assert!((0.0..=1.0).contains(&compute_score(&Measurement::default(), f64::NAN)));
    }

    #[test]
    fn distances_on_the_globe() {
        let (london, new_york) = ((51.5074, -0.1278), (40.7128, -74.006));
        let km = geo_km_between(london, new_york).unwrap();
        assert!((km - 5570.2).abs() < 1.0, "{km}");
        assert_eq!(geo_km_between(london, london), Some(0.0));
        let half = geo_km_between((0.0, 0.0), (0.0, 180.0)).unwrap();
        assert!((half - 20015.1).abs() < 0.1, "{half}");
        assert_eq!(geo_km_between((91.0, 0.0), london), None);
        assert_eq!(geo_km_between((f64::NAN, 0.0), london), None);
    }
}
