//! Tensor payloads in files beside the model.

use super::file;
use super::proto::StringStringEntryProto;
use bytes::Bytes;
use sirius_polyhedral::{Error, Result};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// The files that a model refers to, each mapped once.
pub struct External {
    directory: PathBuf,
    maps: HashMap<PathBuf, Bytes>,
}

impl External {
    pub fn new(directory: &Path) -> External {
        External { directory: directory.to_path_buf(), maps: HashMap::new() }
    }

    /// The `expected` bytes of tensor `name`: a slice of the mapped file.
    pub fn read(&mut self, entries: &[StringStringEntryProto], expected: usize, name: &str) -> Result<Bytes> {
        let get = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let location = get("location").ok_or_else(|| broken(name, "names no location"))?;
        let number = |key: &str| match get(key) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| broken(name, &format!("has {key} \"{text}\""))),
        };
        let offset: usize = number("offset")?.unwrap_or(0);
        let length: usize = number("length")?.unwrap_or(expected);
        if length != expected {
            return Err(broken(name, &format!("has {length} bytes where its type and shape need {expected}")));
        }
        let map = self.open(location, name)?;
        let end = offset.checked_add(length).filter(|&end| end <= map.len());
        let end = end.ok_or_else(|| {
            let size = map.len();
            broken(name, &format!("lies at {offset}, length {length}, but \"{location}\" has only {size} bytes"))
        })?;
        Ok(map.slice(offset..end))
    }

    fn open(&mut self, location: &str, name: &str) -> Result<Bytes> {
        let path = self.resolve(location, name)?;
        if let Some(map) = self.maps.get(&path) {
            return Ok(map.clone());
        }
        let map = file::map(&path).map_err(|e| broken(name, &e.diagnostic().message))?;
        self.maps.insert(path, map.clone());
        Ok(map)
    }

    /// A model must not be able to read files outside its directory, neither by `..` nor by a link.
    fn resolve(&self, location: &str, name: &str) -> Result<PathBuf> {
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !plain {
            return Err(broken(name, &format!("points outside the model's directory: \"{location}\"")));
        }
        let directory = if self.directory.as_os_str().is_empty() { Path::new(".") } else { &self.directory };
        let missing = |e: std::io::Error| {
            broken(name, &format!("needs \"{location}\": {e}")).help(format!("put {location} beside the model file"))
        };
        let root = directory.canonicalize().map_err(missing)?;
        let path = root.join(relative).canonicalize().map_err(missing)?;
        if !path.starts_with(&root) {
            return Err(broken(name, &format!("follows a link out of the model's directory: \"{location}\"")));
        }
        Ok(path)
    }
}

fn broken(name: &str, what: &str) -> Error {
    Error::invalid("E106", format!("external data of tensor \"{name}\" {what}"))
}
