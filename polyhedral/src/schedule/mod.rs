//! Fusion, tiling, layout and storage: passes that change when and where things run.

pub mod axis;
pub mod barriers;
pub mod blocks;
pub mod contract;
pub mod distribute;
pub mod fuse;
pub mod fuse_tiles;
pub mod group;
pub mod layout;
pub mod map_gpu;
pub mod obligations;
pub mod outermost;
pub mod owner;
pub mod pack;
pub mod pair;
pub mod plan_memory;
pub mod scalar_replace;
pub mod shape;
pub mod slide;
pub mod slide_cost;
pub mod split_dims;
pub mod team;
pub mod tile;
pub mod tile_nest;
pub mod uses;
pub mod window;
