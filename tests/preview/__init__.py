"""Tests of the page: its forms, texts, session and server, and the page in a browser."""
