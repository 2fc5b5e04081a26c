"""The data workshop: balanced writing instructions handed out, texts checked and kept. Trains nothing."""
