"""Everything that is outside Holdfast, on this machine: it speaks the outside's protocols and imports none of the product."""
