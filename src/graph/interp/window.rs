//! Sliding windows of convolutions and pools: extents, padding, and the taps of every output position.

use super::Call;
use super::index::{indices, product, strides};
use crate::run::value::checked_len;
use sirius_polyhedral::{DType, Result};

/// A window over the spatial dimensions of a tensor.
pub struct Window {
    pub input: Vec<usize>,
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub before: Vec<usize>,
    pub after: Vec<usize>,
    pub output: Vec<usize>,
}

impl Window {
    /// From the attributes of a node whose input has the spatial extents `input`.
    pub fn new(call: &Call, input: &[usize], kernel: &[usize]) -> Result<Window> {
        let rank = input.len();
        call.require(kernel.len() == rank, || format!("a kernel of {kernel:?} over {input:?}"))?;
        let (strides, dilations) = (call.sizes("strides", rank, 1)?, call.sizes("dilations", rank, 1)?);
        let pads = call.sizes("pads", 2 * rank, 0)?;
        let positive = [kernel, &strides, &dilations].iter().all(|list| list.iter().all(|v| (1..1 << 31).contains(v)));
        let small = pads.iter().all(|p| *p < 1 << 31);
        call.require(positive && small, || "kernel, strides and dilations must be positive".to_string())?;
        let (before, after) = (pads[..rank].to_vec(), pads[rank..].to_vec());
        let mut window = Window {
            input: input.to_vec(),
            kernel: kernel.to_vec(),
            strides,
            dilations,
            before,
            after,
            output: Vec::new(),
        };
        window.automatic_pads(call.string("auto_pad", "NOTSET"));
        let ceil = call.flag("ceil_mode", false);
        window.output = (0..rank).map(|d| window.extent(call, d, ceil)).collect::<Result<_>>()?;
        // `taps` holds one entry per output position and tap.
        checked_len(DType::F64, &[window.output.as_slice(), kernel].concat())?;
        Ok(window)
    }

    /// From the first to the last tap of the window.
    pub fn span(&self, d: usize) -> usize {
        (self.kernel[d] - 1) * self.dilations[d] + 1
    }

    /// `auto_pad`: `SAME_*` pads so that the output has `ceil(input / stride)` elements; the odd one goes to the
    /// end with `SAME_UPPER`, to the beginning with `SAME_LOWER`.
    fn automatic_pads(&mut self, mode: &str) {
        for d in 0..self.input.len() {
            let wanted = self.input[d].div_ceil(self.strides[d]).saturating_sub(1) * self.strides[d] + self.span(d);
            let total = wanted.saturating_sub(self.input[d]);
            let (small, large) = (total / 2, total - total / 2);
            match mode {
                "SAME_UPPER" => (self.before[d], self.after[d]) = (small, large),
                "SAME_LOWER" => (self.before[d], self.after[d]) = (large, small),
                "VALID" => (self.before[d], self.after[d]) = (0, 0),
                _ => {}
            }
        }
    }

    fn extent(&self, call: &Call, d: usize, ceil: bool) -> Result<usize> {
        let padded = self.input[d] + self.before[d] + self.after[d];
        let room = padded.checked_sub(self.span(d));
        let room = room.ok_or_else(|| call.invalid(format!("a window of {} over {padded}", self.span(d))))?;
        let stride = self.strides[d];
        let steps = if ceil { room.div_ceil(stride) } else { room / stride };
        // With `ceil_mode` the last window may stick out at the end, but it must not start there.
        let outside = ceil && steps * stride >= self.input[d] + self.before[d];
        Ok(steps + 1 - outside as usize)
    }

    /// For every output position and every tap of the window, the offset in the spatial input; `None` is padding.
    pub fn taps(&self) -> Vec<Option<usize>> {
        let own = strides(&self.input);
        let mut taps = Vec::with_capacity(product(&self.output) * product(&self.kernel));
        let kernel: Vec<Vec<usize>> = indices(&self.kernel).collect();
        for at in indices(&self.output) {
            for tap in &kernel {
                let place = |d: usize| self.input_position(d, at[d], tap[d]).map(|i| i * own[d]);
                taps.push((0..self.input.len()).map(place).sum());
            }
        }
        taps
    }

    fn input_position(&self, d: usize, at: usize, tap: usize) -> Option<usize> {
        let padded = at * self.strides[d] + tap * self.dilations[d];
        padded.checked_sub(self.before[d]).filter(|i| *i < self.input[d])
    }

    /// Taps of the window at `at` that lie in the input or its padding: with `ceil_mode` some lie beyond.
    pub fn padded_taps(&self, at: &[usize]) -> usize {
        let inside = |d: usize| {
            let end = self.input[d] + self.before[d] + self.after[d];
            (0..self.kernel[d]).filter(|tap| at[d] * self.strides[d] + tap * self.dilations[d] < end).count()
        };
        (0..self.input.len()).map(inside).product()
    }
}
