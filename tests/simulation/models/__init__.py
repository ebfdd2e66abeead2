"""Small models of the three protocols that everything else stands on, checked exhaustively.

They are checks of the design, not of the code: each says in its docstring what it abstracts and
why nothing is lost by it. A rule of a protocol and its model change only together.
"""
