//! Bodies of the fuzz targets of this crate's parsers.
