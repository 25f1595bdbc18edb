//! A small validator of JSON Schema: the part that the published schemas use.

use serde_json::Value;

/// Does the value keep to the schema? `at` is where it stands, for the message.
pub fn fits(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(any) = schema["anyOf"].as_array() {
        let tried: Vec<String> = any.iter().filter_map(|s| fits(s, value, at).err()).collect();
        return if tried.len() < any.len() { Ok(()) } else { Err(tried.join("; ")) };
    }
    let right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        other => return Err(format!("{at}: the schema asks for {other:?}")),
    };
    if !right {
        return Err(format!("{at}: {value} is not of type {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Err(format!("{at}: {value} is not one of {}", schema["enum"]));
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(&schema["items"], item, &format!("{at}[{n}]"))?;
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        value.get(name).ok_or_else(|| format!("{at}: {name} is missing"))?;
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name).ok_or_else(|| format!("{at}: {name} is not in the schema"))?;
        fits(known, inner, &format!("{at}.{name}"))?;
    }
    Ok(())
}
