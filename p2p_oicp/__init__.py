"""Electric-vehicle roaming without a middleman: OICP 2.3, peer to peer."""

__all__: list[str] = []
