//! `NonMaxSuppression`.

use super::Call;
use crate::run::value::Value;
use sirius_polyhedral::Result;

/// A box by its corners: low y, low x, high y, high x.
type Corners = [f64; 4];

fn corners(given: &[f64], centred: bool) -> Corners {
    if centred {
        let (x, y, w, h) = (given[0], given[1], given[2], given[3]);
        return [y - h / 2.0, x - w / 2.0, y + h / 2.0, x + w / 2.0];
    }
    let (y, x) = ((given[0], given[2]), (given[1], given[3]));
    [y.0.min(y.1), x.0.min(x.1), y.0.max(y.1), x.0.max(x.1)]
}

fn overlap(a: &Corners, b: &Corners) -> f64 {
    let length = |d: usize| (a[d + 2].min(b[d + 2]) - a[d].max(b[d])).max(0.0);
    let area = |c: &Corners| (c[2] - c[0]) * (c[3] - c[1]);
    let common = length(0) * length(1);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

pub fn non_max_suppression(call: &Call) -> Result<Vec<Value>> {
    let (boxes, scores) = (call.ranked(0, 3)?, call.ranked(1, 3)?);
    let n = boxes.shape[1];
    let fits = boxes.shape[2] == 4 && scores.shape[0] == boxes.shape[0] && scores.shape[2] == n;
    call.require(fits, || format!("boxes {:?} for scores {:?}", boxes.shape, scores.shape))?;
    let most = call.scalar(2).map_or(0, |v| v.get_i64(0)).max(0) as usize;
    let limit = call.scalar(3).map_or(0.0, |v| v.get_f64(0));
    let least = call.scalar(4).map_or(f64::NEG_INFINITY, |v| v.get_f64(0));
    let centred = call.flag("center_point_box", false);
    let (places, all) = (boxes.floats(), scores.floats());
    let mut kept: Vec<i64> = Vec::new();
    for (image, class) in (0..scores.shape[0]).flat_map(|b| (0..scores.shape[1]).map(move |c| (b, c))) {
        let score = |i: usize| all[(image * scores.shape[1] + class) * n + i];
        let place = |i: usize| corners(&places[(image * n + i) * 4..][..4], centred);
        let given = call.scalar(4).is_some();
        let candidate = |i: &usize| if given { score(*i) > least } else { !score(*i).is_nan() };
        let mut order: Vec<usize> = (0..n).filter(candidate).collect();
        order.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
        let mut own: Vec<usize> = Vec::new();
        for i in order {
            if own.len() < most && own.iter().all(|k| overlap(&place(*k), &place(i)) <= limit) {
                own.push(i);
            }
        }
        kept.extend(own.into_iter().flat_map(|i| [image as i64, class as i64, i as i64]));
    }
    let count = kept.len() / 3;
    Ok(vec![Value::from_i64(&[count, 3], &kept)?, Value::scalar(count as i64)])
}
