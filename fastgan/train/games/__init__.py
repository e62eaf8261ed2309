"""How each kind of game is put together: networks, options and data -> a `Game`."""
