//! Points and their nearest neighbours: a k-d tree over texts with coordinates (selection.md §2).

use crate::base::{Error, Result};
use kdtree::KdTree;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// How far apart two points are. All three grow with the distance along every axis, which is what
/// lets a tree leave whole boxes out. (Cosine distances do not; they are left out.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metric {
    /// `√Σ(aᵢ−bᵢ)²`.
    #[default]
    Euclidean,
    /// `Σ|aᵢ−bᵢ|`.
    Manhattan,
    /// `max|aᵢ−bᵢ|`.
    Chebyshev,
}

impl Metric {
    /// The distance of two points of the same length, in IEEE doubles and axis order.
    pub fn distance(self, a: &[f64], b: &[f64]) -> f64 {
        let gaps = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        match self {
            Metric::Euclidean => gaps.fold(0.0, |sum, gap| sum + gap * gap).sqrt(),
            Metric::Manhattan => gaps.fold(0.0, |sum, gap| sum + gap),
            Metric::Chebyshev => gaps.fold(0.0, |max, gap| if gap > max || gap.is_nan() { gap } else { max }),
        }
    }
}

/// A named place. The id may be empty; ids that are not empty are unique within a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Whose point it is.
    pub id: String,
    /// One coordinate per axis.
    pub coords: Vec<f64>,
}

impl Point {
    /// A point.
    pub fn new(id: impl Into<String>, coords: impl Into<Vec<f64>>) -> Point {
        Point { id: id.into(), coords: coords.into() }
    }
}

/// Coordinates the tree proper takes: zero, or of a size within these. The split of a box is the
/// mean of its ends, so wider ranges overflow or split thousands of levels deep. Others are
/// compared one by one.
const TREE_COORDS: std::ops::RangeInclusive<f64> = 1e-6..=1e12;

fn fits_tree(coords: &[f64]) -> bool {
    coords.iter().all(|c| *c == 0.0 || TREE_COORDS.contains(&c.abs()))
}

/// The search structure over coordinates that somebody else keeps.
#[derive(Debug)]
pub(super) struct Index<C: AsRef<[f64]>> {
    tree: KdTree<f64, usize, C>,
    /// Positions of the points the tree does not take.
    beside: Vec<usize>,
}

impl<C: AsRef<[f64]> + Clone> Index<C> {
    /// Over points of `dim` coordinates each, by position.
    pub(super) fn build<'a>(dim: usize, coords: impl Iterator<Item = &'a C>) -> Index<C>
    where
        C: 'a,
    {
        let mut index = Index { tree: KdTree::new(dim), beside: Vec::new() };
        for (position, coords) in coords.enumerate() {
            if !fits_tree(coords.as_ref()) || index.tree.add(coords.clone(), position).is_err() {
                index.beside.push(position);
            }
        }
        index
    }

    /// The `k` nearest as (position, distance), ascending; equal distances by position.
    pub(super) fn nearest<'a>(
        &self,
        coords: impl Fn(usize) -> &'a [f64],
        metric: Metric,
        query: &[f64],
        k: usize,
    ) -> Vec<(usize, f64)> {
        let distance = |a: &[f64], b: &[f64]| metric.distance(a, b);
        if !fits_tree(query) {
            return first(self.everything(coords, metric, query), k);
        }
        // One more than asked for shows whether the last place is shared; which of several equals
        // the tree would hand out depends on its shape, so then all of them are looked at.
        let Ok(found) = self.tree.nearest(query, k.saturating_add(1), &distance) else { return Vec::new() };
        let shared = match (k.checked_sub(1).and_then(|last| found.get(last)), found.get(k)) {
            (Some((last, _)), Some((next, _))) => (last == next).then_some(*last),
            _ => None,
        };
        let found = match shared {
            Some(radius) => self.tree.within(query, radius, &distance).unwrap_or_default(),
            None => found,
        };
        let beside = self.beside.iter().map(|i| (*i, metric.distance(query, coords(*i))));
        first(found.into_iter().map(|(d, i)| (*i, d)).chain(beside).collect(), k)
    }

    /// All within `radius`, the border included, as (position, distance), ascending.
    pub(super) fn within<'a>(
        &self,
        coords: impl Fn(usize) -> &'a [f64],
        metric: Metric,
        query: &[f64],
        radius: f64,
    ) -> Vec<(usize, f64)> {
        let mut all = if fits_tree(query) {
            let found = self.tree.within(query, radius, &|a: &[f64], b: &[f64]| metric.distance(a, b));
            let beside = self.beside.iter().map(|i| (*i, metric.distance(query, coords(*i))));
            found.unwrap_or_default().into_iter().map(|(d, i)| (*i, d)).chain(beside).collect()
        } else {
            self.everything(coords, metric, query)
        };
        all.retain(|(_, distance)| *distance <= radius);
        first(all, usize::MAX)
    }

    fn everything<'a>(&self, coords: impl Fn(usize) -> &'a [f64], metric: Metric, query: &[f64]) -> Vec<(usize, f64)> {
        (0..self.tree.size() + self.beside.len()).map(|i| (i, metric.distance(query, coords(i)))).collect()
    }
}

/// The first `k` by distance (NaN last), then position.
fn first(mut found: Vec<(usize, f64)>, k: usize) -> Vec<(usize, f64)> {
    found.sort_by(|(i, a), (j, b)| a.total_cmp(b).then(i.cmp(j)));
    found.truncate(k);
    found
}

/// Points of one number of dimensions. The search structure is built at the first query after a
/// change. Among equal distances the point that stands first in [`PointTree::points`] comes first.
#[derive(Debug)]
pub struct PointTree {
    metric: Metric,
    dim: usize,
    points: Vec<Point>,
    by_id: BTreeMap<String, usize>,
    index: OnceLock<Index<Vec<f64>>>,
}

impl PointTree {
    /// An empty tree for points of `dim` coordinates. Error: `dim` is 0.
    pub fn empty(dim: usize, metric: Metric) -> Result<PointTree> {
        if dim == 0 {
            return Err(Error::Config("kdtree: points must have at least one dimension".into()));
        }
        Ok(PointTree { metric, dim, points: Vec::new(), by_id: BTreeMap::new(), index: OnceLock::new() })
    }

    /// A tree of the given points. Errors in this order: there are none; the first has no
    /// coordinates; the numbers of coordinates differ; an id that is not empty comes twice.
    pub fn build(points: Vec<Point>, metric: Metric) -> Result<PointTree> {
        let fail = |why: &str| Err(Error::Config(format!("kdtree: {why}")));
        let Some(head) = points.first() else { return fail("no points provided") };
        let mut tree = PointTree::empty(head.coords.len(), metric)?;
        if points.iter().any(|p| p.coords.len() != tree.dim) {
            return fail("inconsistent dimensionality in points");
        }
        for point in points {
            if !tree.insert(point) {
                return fail("duplicate point ID");
            }
        }
        Ok(tree)
    }

    /// How many points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Coordinates per point.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The points in their current order.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Adds a point at the end. `false`, and nothing changed, when its number of coordinates is
    /// another or its id, if not empty, is there already.
    pub fn insert(&mut self, point: Point) -> bool {
        if point.coords.len() != self.dim || self.by_id.contains_key(&point.id) {
            return false;
        }
        if !point.id.is_empty() {
            self.by_id.insert(point.id.clone(), self.points.len());
        }
        self.points.push(point);
        self.index.take();
        true
    }

    /// Removes the point of this id; the last one takes its place. `false` when the id is empty or unknown.
    pub fn delete(&mut self, id: &str) -> bool {
        let Some(position) = self.by_id.remove(id) else { return false };
        self.points.swap_remove(position);
        if let Some(moved) = self.points.get(position).filter(|p| !p.id.is_empty()) {
            self.by_id.insert(moved.id.clone(), position);
        }
        self.index.take();
        true
    }

    /// The nearest point and its distance. `None` when there is none at a finite distance, or
    /// `query` has another number of coordinates.
    pub fn nearest(&self, query: &[f64]) -> Option<(&Point, f64)> {
        self.k_nearest(query, 1).pop().filter(|(_, distance)| *distance < f64::MAX)
    }

    /// The `k` nearest, ascending. Empty when `query` has another number of coordinates.
    pub fn k_nearest(&self, query: &[f64], k: usize) -> Vec<(&Point, f64)> {
        if query.len() != self.dim || k == 0 {
            return Vec::new();
        }
        self.named(self.index().nearest(|i| self.coords(i), self.metric, query, k))
    }

    /// All within `radius`, the border included, ascending. Empty when `radius` is negative or
    /// `query` has another number of coordinates.
    pub fn radius(&self, query: &[f64], radius: f64) -> Vec<(&Point, f64)> {
        if query.len() != self.dim || radius < 0.0 {
            return Vec::new();
        }
        self.named(self.index().within(|i| self.coords(i), self.metric, query, radius))
    }

    fn index(&self) -> &Index<Vec<f64>> {
        self.index.get_or_init(|| Index::build(self.dim, self.points.iter().map(|p| &p.coords)))
    }

    fn coords(&self, position: usize) -> &[f64] {
        self.points.get(position).map_or(&[], |p| &p.coords)
    }

    fn named(&self, found: Vec<(usize, f64)>) -> Vec<(&Point, f64)> {
        found.into_iter().filter_map(|(i, distance)| Some((self.points.get(i)?, distance))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn linear(points: &[Point], metric: Metric, query: &[f64], k: usize) -> Vec<(String, f64)> {
        let all = points.iter().enumerate().map(|(i, p)| (i, metric.distance(query, &p.coords))).collect();
        first(all, k).into_iter().map(|(i, d)| (points[i].id.clone(), d)).collect()
    }

    #[test]
    fn the_tree_answers_as_a_scan_of_all_points_does() {
        let seed = 41;
        println!("seed {seed}");
        let mut rng = Rng::from_number(seed);
        for metric in [Metric::Euclidean, Metric::Manhattan, Metric::Chebyshev] {
            for round in 0..20u64 {
                // Few distinct values, so that equal distances abound; now and then a wild one.
                let mut value = |wild: bool| match rng.below(40) {
                    0 if wild => 1e300,
                    1 if wild => -1e-200,
                    n => n as f64 % (2.0 + round as f64) * 0.5,
                };
                let points: Vec<Point> = (0..150)
                    .map(|i| Point::new(format!("p{i}"), (0..3).map(|_| value(true)).collect::<Vec<_>>()))
                    .collect();
                let query: Vec<f64> = (0..3).map(|_| value(round % 5 == 0)).collect();
                let mut tree = PointTree::build(points, metric).unwrap();
                for id in 0..round {
                    assert!(tree.delete(&format!("p{}", id * 7)));
                }
                for k in [1, 2, 9, 149, 500] {
                    let found: Vec<_> = tree.k_nearest(&query, k).into_iter().map(|(p, d)| (p.id.clone(), d)).collect();
                    assert_eq!(found, linear(tree.points(), metric, &query, k), "{metric:?} {round} {k}");
                }
                let radius = 3.0;
                let within: Vec<_> = tree.radius(&query, radius).into_iter().map(|(p, d)| (p.id.clone(), d)).collect();
                let mut scan = linear(tree.points(), metric, &query, 500);
                scan.retain(|(_, d)| *d <= radius);
                assert_eq!(within, scan);
            }
        }
    }

    #[test]
    fn points_that_would_overflow_or_deepen_the_tree_stand_beside_it() {
        let mut points = vec![Point::new("a", [-1e308]), Point::new("b", [1e308]), Point::new("nan", [f64::NAN])];
        points.extend((0..1070).map(|k| Point::new(format!("t{k}"), [f64::powi(0.5, k)])));
        let tree = PointTree::build(points, Metric::Chebyshev).unwrap();
        assert_eq!(tree.nearest(&[0.0]).unwrap().0.id, "t1069");
        assert_eq!(tree.k_nearest(&[0.0], 2000).len(), 1073);
        assert_eq!(tree.k_nearest(&[f64::NAN], 3).len(), 3);
        assert!(tree.nearest(&[f64::NAN]).is_none());
    }

    #[test]
    fn the_first_of_several_equals_wins() {
        let points = (0..100).map(|i| Point::new(format!("{i}"), [1.0])).collect();
        let tree = PointTree::build(points, Metric::Euclidean).unwrap();
        let ids: Vec<_> = tree.k_nearest(&[0.0], 3).iter().map(|(p, _)| p.id.clone()).collect();
        assert_eq!(ids, ["0", "1", "2"]);
    }
}
