//! Elements of constants as text, bit for bit.

use half::{bf16, f16};
use sirius_polyhedral::{DType, narrow};

/// One element; a float that has no exact short spelling (a NaN with payload) prints as its bits.
pub fn print(bytes: &[u8], dtype: DType) -> String {
    let short = match dtype {
        DType::F64 => <[u8; 8]>::try_from(bytes).map(f64::from_le_bytes).map(|v| format!("{v:?}")).ok(),
        DType::F32 => <[u8; 4]>::try_from(bytes).map(f32::from_le_bytes).map(|v| format!("{v:?}")).ok(),
        DType::F16 => <[u8; 2]>::try_from(bytes).map(f16::from_le_bytes).map(|v| format!("{:?}", v.to_f32())).ok(),
        DType::BF16 => <[u8; 2]>::try_from(bytes).map(bf16::from_le_bytes).map(|v| format!("{:?}", v.to_f32())).ok(),
        t if t.is_narrow_float() => bytes.first().map(|b| format!("{:?}", narrow::decode(*b, t))),
        _ => return int(bytes, dtype).to_string(),
    };
    short.filter(|text| parse(text, dtype).as_deref() == Some(bytes)).unwrap_or_else(|| bits(bytes))
}

fn bits(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().rev().map(|b| format!("{b:02x}")).collect();
    format!("0x{digits}")
}

fn int(bytes: &[u8], dtype: DType) -> i128 {
    let mut wide = [0u8; 16];
    let length = bytes.len().min(8);
    wide[..length].copy_from_slice(&bytes[..length]);
    let value = i128::from_le_bytes(wide);
    let unused = 128 - 8 * length as u32;
    if dtype.is_signed() { value << unused >> unused } else { value }
}

/// The bytes of one element; `None` where the text is no value of the type.
pub fn parse(text: &str, dtype: DType) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("0x") {
        let value = u64::from_str_radix(digits, 16).ok()?;
        return (digits.len() == 2 * dtype.size()).then(|| value.to_le_bytes()[..dtype.size()].to_vec());
    }
    Some(match dtype {
        DType::F64 => text.parse::<f64>().ok()?.to_le_bytes().to_vec(),
        DType::F32 => text.parse::<f32>().ok()?.to_le_bytes().to_vec(),
        DType::F16 => f16::from_f32(text.parse().ok()?).to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f32(text.parse().ok()?).to_le_bytes().to_vec(),
        t if t.is_narrow_float() => vec![narrow::encode(text.parse().ok()?, t)],
        _ => {
            let value: i128 = text.parse().ok()?;
            let bytes = value.to_le_bytes()[..dtype.size()].to_vec();
            (int(&bytes, dtype) == value).then_some(bytes)?
        }
    })
}
