//! Fusion, tiling, layout and storage: passes that change when and where things run.

pub mod contract;
pub mod fuse;
pub mod group;
pub mod lane;
pub mod layout;
pub mod map_gpu;
pub mod pack;
pub mod plan_memory;
pub mod shape;
pub mod split_dims;
pub mod tile;
pub mod tile_nest;
