"""Keys of every kind."""

from cryptography.hazmat.primitives.asymmetric import ec

from p2p_oicp.crypto import PrivateKey


def p256() -> PrivateKey:
    return PrivateKey(ec.generate_private_key(ec.SECP256R1()))
