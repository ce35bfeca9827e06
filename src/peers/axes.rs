//! From items to points: each axis scaled to 0..1 by its range, perhaps turned round, weighted (selection.md §3).

use crate::base::{Error, Result};

/// The smallest and largest value of one axis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AxisRange {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl AxisRange {
    /// A range.
    pub const fn new(min: f64, max: f64) -> AxisRange {
        AxisRange { min, max }
    }

    /// Where `value` lies between `min` (0) and `max` (1). Not clamped; 0 when both are equal.
    pub fn scale01(self, value: f64) -> f64 {
        if self.max == self.min { 0.0 } else { (value - self.min) / (self.max - self.min) }
    }
}

/// A number that an item has.
pub type Feature<'a, T> = &'a dyn Fn(&T) -> f64;

/// The range of every feature over the items; zeros when there are none. A NaN of the first item stays.
pub fn axis_ranges<T>(items: &[T], features: &[Feature<'_, T>]) -> Vec<AxisRange> {
    features
        .iter()
        .map(|feature| {
            let mut values = items.iter().map(feature);
            let head = values.next().unwrap_or(0.0);
            values.fold(AxisRange::new(head, head), |range, value| AxisRange {
                min: if value < range.min { value } else { range.min },
                max: if value > range.max { value } else { range.max },
            })
        })
        .collect()
}

/// The coordinates of every item: `weight · n`, or `weight · (1 − n)` on an inverted axis, with
/// n = [`AxisRange::scale01`] of the feature in the given ranges, or in those of the items.
/// No items give no points. Errors: no features; weights, inversions or ranges of another number.
pub fn build_coords<T>(
    items: &[T],
    features: &[Feature<'_, T>],
    weights: &[f64],
    invert: &[bool],
    ranges: Option<&[AxisRange]>,
) -> Result<Vec<Vec<f64>>> {
    let fail = |why: &str| Err(Error::Config(format!("kdtree: {why}")));
    if items.is_empty() {
        return Ok(Vec::new());
    }
    if features.is_empty() {
        return fail("invalid features: provide at least one feature and ensure none are nil");
    }
    if weights.len() != features.len() {
        return fail("invalid weights length; must match number of features");
    }
    if invert.len() != features.len() {
        return fail("invalid invert length; must match number of features");
    }
    let computed;
    let ranges = match ranges {
        Some(ranges) => ranges,
        None => {
            computed = axis_ranges(items, features);
            &computed
        }
    };
    if ranges.len() != features.len() {
        return fail("stats dimensionality mismatch");
    }
    let axes = || features.iter().zip(weights).zip(invert).zip(ranges);
    let coords = |item| {
        axes()
            .map(|(((feature, weight), invert), range)| {
                let n = range.scale01(feature(item));
                weight * if *invert { 1.0 - n } else { n }
            })
            .collect()
    };
    Ok(items.iter().map(coords).collect())
}
