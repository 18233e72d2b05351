//! These are the authority's tests.

mod storage;
