//! The repository checked as data: who depends on whom, what cores may touch, sizes, licences,
//! duplicate crates.

mod crates;
mod edges;
mod files;
