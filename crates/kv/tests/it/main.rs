//! The store against its contract: the model always, and etcd as a real process.

mod auth;
mod etcd;
mod faults;
mod model;
mod tls;
