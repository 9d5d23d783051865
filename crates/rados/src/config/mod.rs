//! Where the cluster is and who we are: ceph.conf, environment, keyrings, options.
