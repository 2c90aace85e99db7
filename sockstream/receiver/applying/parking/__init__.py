"""Records set aside: judged, remembered, tried again."""
