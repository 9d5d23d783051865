//! Robert Jenkins' 32-bit mix, as CRUSH uses it (ceph: src/crush/hash.c, `crush_hash32_rjenkins1*`).

/// Start value of every hash.
const SEED: u32 = 1_315_423_911;
/// Constants that take part where an argument is missing.
const X: u32 = 231_232;
const Y: u32 = 1232;

/// Hashes two numbers.
pub const fn hash32_2(a: u32, b: u32) -> u32 {
    let hash = SEED ^ a ^ b;
    let (a, b, hash) = mix(a, b, hash);
    let (x, _, hash) = mix(X, a, hash);
    let (_, _, hash) = mix(b, Y, hash);
    let _ = x;
    hash
}

/// Hashes three numbers.
pub const fn hash32_3(a: u32, b: u32, c: u32) -> u32 {
    let hash = SEED ^ a ^ b ^ c;
    let (a, b, hash) = mix(a, b, hash);
    let (c, x, hash) = mix(c, X, hash);
    let (y, a, hash) = mix(Y, a, hash);
    let (b, x, hash) = mix(b, x, hash);
    let (_, _, hash) = mix(y, c, hash);
    let _ = (a, b, x);
    hash
}

/// Hashes four numbers.
pub const fn hash32_4(a: u32, b: u32, c: u32, d: u32) -> u32 {
    let hash = SEED ^ a ^ b ^ c ^ d;
    let (a, b, hash) = mix(a, b, hash);
    let (c, d, hash) = mix(c, d, hash);
    let (a, x, hash) = mix(a, X, hash);
    let (y, b, hash) = mix(Y, b, hash);
    let (c, x, hash) = mix(c, x, hash);
    let (_, _, hash) = mix(y, d, hash);
    let _ = (a, b, c, x);
    hash
}

/// One round of the mix that all hashes are made of: the new values of all three.
pub const fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 13);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 8);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 13);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 12);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 16);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 5);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 3);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 10);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 15);
    (a, b, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recomputed from placements of a live cluster.
    #[test]
    fn hashes_are_those_of_ceph() {
        assert_eq!(hash32_2(1, 2), 0xb78d_ee9c);
        assert_eq!(hash32_3(1, 2, 3), 0x735a_d42b);
    }
}
