//! The OSD map: which pools and OSDs there are, and where a placement group is.
