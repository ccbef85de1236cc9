"""The front-end process: machines behind sockets, in the time of the host."""
