"""Nothing is lost, whatever fails: real nodes, a line that misbehaves between them, books that must balance."""
