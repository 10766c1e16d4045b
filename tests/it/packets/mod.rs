//! Real packets: hosts and guests are network namespaces with bridges and veths, rules come from documents by way of the
//! real operator and real agents to the kernel, and what is asked is whether a packet arrives.
//!
//! Every test runs in a sandbox of its own, so that it needs no privileges, meets no other test, and leaves nothing behind
//! however it ends.

mod enforcement;
mod frames;
mod groups;
mod namespace;
mod sandbox;
mod spoofing;
mod talking;
mod world;
