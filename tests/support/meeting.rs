//! What two kinds of NAT come to when they meet, in simulation and in the laboratory alike.

/// `D` directly, `R` through a relay, by the kind of one end and that of the other, both in the order of the rows;
/// without birthday probing.
pub const MEETINGS: [&str; 10] = [
    "DDDDDDDDDR", // P
    "DDDDDDRDRR", // F
    "DDDDDDDDDR", // FC
    "DDDDDDDDDR", // AR
    "DDDDDDRDRR", // PR
    "DDDDDDRDRR", // LK
    "DRDDRRRRRR", // AD
    "DDDDDDRRRR", // SS
    "DRDDRRRRRR", // SR
    "RRRRRRRRRR", // UB
];
